"""Decode the images of a data set, and judge what the pipeline makes of them."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from mmdcls.datasets.loading import (
    DEFAULT_LOADING,
    loading_steps,
    loads_image,
    reason_of,
    refuse_special_file,
    transform_name,
)
from mmdcls.errors import ArgumentError

from .report import LabelRange, Problem, Report, Sample, enumerate_some

_ORIENTATION = 274
"""Number of the EXIF tag; 2 to 4 mirror or turn by 180 degrees, 5 to 8 by 90."""


class PipelineLoader:
    """The loading transforms of a pipeline, with their options.

    Without any, images and label maps are read as the transforms' defaults do.

    Args:
        pipeline: The transforms, as the config describes them, in the current default
            scope.

    Raises:
        ArgumentError: If a loading transform is unknown or refuses its options.
    """

    def __init__(self, pipeline: Sequence[Mapping]) -> None:
        steps = loading_steps(pipeline)
        annotations = [step for step in steps if 'Annotation' in transform_name(step)]
        images = [step for step in steps if loads_image(step)]
        self.knows_pipeline = bool(images) or not pipeline
        self._images = _build(images or [DEFAULT_LOADING])
        self._annotations = _build(annotations or [dict(type='LoadAnnotations')])

    def load_image(self, item: Mapping) -> np.ndarray:
        """Give the image as the first transforms of the pipeline leave it.

        Raises:
            Exception: Whatever the transforms raise.
        """
        return _apply(self._images, item)['img']

    def load_label_map(self, item: Mapping) -> np.ndarray:
        """Give the label map, reduced and mapped as the pipeline does.

        Raises:
            Exception: Whatever the transforms raise.
        """
        return _apply(self._annotations, item)['gt_seg_map']


def _build(steps: list[Mapping]) -> list:
    try:
        return [TRANSFORMS.build(copy.deepcopy(dict(step))) for step in steps]
    except (AssertionError, TypeError, KeyError, ValueError) as error:
        names = ', '.join(map(transform_name, steps))
        raise ArgumentError(
            f'{names} of the pipeline cannot be built: {error}'
        ) from error


def _apply(transforms: list, item: Mapping) -> dict:
    results = copy.deepcopy(dict(item))
    for transform in transforms:
        results = transform(results)
        if results is None:
            raise ArgumentError('the pipeline leaves it out (ignore_empty)')
    return results


@dataclass
class Finding:
    """What is known about one sample after looking at it.

    Attributes:
        sample: The sample that was looked at.
        problems: The problems that it has.
        form: Channels and data type of the loaded image.
        labels: The values that occur in the loaded label map.
        undecided: True if the image is turned or mirrored by an EXIF tag without
            another size, so that only the eye can tell which way its labels are drawn.
    """

    sample: Sample
    problems: list[Problem] = field(default_factory=list)
    form: tuple[int, str] | None = None
    labels: frozenset[int] = frozenset()
    undecided: bool = False


def check_sample(sample: Sample, loader: PipelineLoader) -> Finding:
    """Load an image and its label map as the pipeline does, and check both.

    They are also decoded to their last pixel by Pillow: OpenCV fills up truncated ones
    without a word.
    """
    found = Finding(sample)
    pixels = _load(loader.load_image, sample, sample.image, found)
    if pixels is None or (file := _decode(sample.image, found)) is None:
        return found
    found.form = (pixels.shape[2] if pixels.ndim > 2 else 1, str(pixels.dtype))
    size = pixels.shape[1], pixels.shape[0]
    as_loaded = ''
    if file.size and size != file.size:
        as_loaded = ' as the pipeline loads it'
        if file.orientation > 1:
            as_loaded += f' (turned by its EXIF orientation {file.orientation})'
    if sample.size and size != tuple(sample.size):
        found.problems.append(
            Problem(
                sample.image,
                f'is {size[0]}x{size[1]}{as_loaded}, but its annotation says '
                f'{sample.size[0]}x{sample.size[1]}',
            )
        )
    if sample.labels:
        _check_label_map(sample, sample.labels, loader, found, size, as_loaded)
    if (sample.size or sample.labels) and not found.problems:
        found.undecided = file.orientation in (2, 3, 4) or (
            file.orientation > 4 and size[0] == size[1]
        )
    return found


@dataclass
class _File:
    """What Pillow tells about an image file; of one that it does not know, nothing."""

    size: tuple[int, int] | None = None
    orientation: int = 1
    largest: int = 0


def _load(
    load: Callable[[Mapping], np.ndarray], sample: Sample, path: str, found: Finding
) -> np.ndarray | None:
    try:
        refuse_special_file(path)
        return load(sample.item)
    except Exception as error:  # Each storage and decoder has exceptions of its own.
        found.problems.append(Problem(path, f'cannot be read ({reason_of(error)})'))
        return None


def _decode(path: str, found: Finding) -> _File | None:
    try:
        with Image.open(path) as image:
            image.load()
            largest = np.max(image) if image.mode.startswith('I') else 255
            return _File(image.size, _read_orientation(image), int(largest))
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return _File()  # The pipeline has read it; Pillow cannot tell more.
    except (OSError, ValueError, SyntaxError) as error:
        found.problems.append(Problem(path, f'cannot be read to its end ({error})'))
        return None


def _read_orientation(image: Image.Image) -> int:
    try:
        orientation: Any = image.getexif().get(_ORIENTATION)
    except Exception:  # Readers go on past a damaged EXIF block, and so does this.
        return 1
    return int(orientation) if orientation in range(1, 9) else 1


def _check_label_map(
    sample: Sample,
    label_range: LabelRange,
    loader: PipelineLoader,
    found: Finding,
    size: tuple[int, int],
    as_loaded: str,
) -> None:
    path = sample.item['seg_map_path']
    labels = _load(loader.load_label_map, sample, path, found)
    if labels is None or (file := _decode(path, found)) is None:
        return
    if labels.ndim != 2:
        channels = labels.shape[2]
        message = f'has {channels} channels, a label map has one'
        found.problems.append(Problem(path, message))
        return
    found.labels = frozenset(np.unique(labels).tolist())
    messages = []
    if labels.shape[::-1] != size:
        messages.append(
            f'is {labels.shape[1]}x{labels.shape[0]}, but its image is '
            f'{size[0]}x{size[1]}{as_loaded}'
        )
    messages += _wrong_labels(found.labels, label_range)
    if labels.dtype == np.uint8 and file.largest > 255:
        messages.append(
            f'holds values up to {file.largest}, of which the pipeline keeps the '
            'lowest 8 bits'
        )
    found.problems += [Problem(path, message) for message in messages]


def _wrong_labels(found: frozenset[int], valid: LabelRange) -> Iterator[str]:
    """Say which loaded labels are of no class, in terms of the file."""
    wrong = found - set(range(len(valid.classes))) - {valid.ignored}
    if wrong:
        in_file = [label + valid.first for label in sorted(wrong)]
        yield (f'holds labels outside of 0 to {valid.last}: {enumerate_some(in_file)}')


class Summary:
    """What only all images of a data set together show."""

    def __init__(self) -> None:
        self._forms: dict[tuple[int, str], list[str]] = defaultdict(list)
        self._undecided: list[str] = []
        self._range: LabelRange | None = None
        self._labels: set[int] = set()

    def add(self, found: Finding) -> None:
        """Take one sample into account."""
        if found.form:
            self._forms[found.form].append(found.sample.image)
        if found.undecided:
            self._undecided.append(found.sample.image)
        if found.labels:
            self._range = found.sample.labels
            self._labels |= found.labels

    def report_to(self, report: Report) -> None:
        """Report what was seen."""
        self._compare_forms(report)
        if self._undecided:
            report.notes.append(
                f'the EXIF orientation of {len(self._undecided)} images does not '
                'change their size; look whether their annotations fit them as the '
                f'pipeline loads them (the first is {self._undecided[0]})'
            )
        if self._range:
            self._count_classes(report, self._range)

    def _compare_forms(self, report: Report) -> None:
        """Find images of other channels or type, which cannot be in one batch."""
        if not self._forms:
            return
        usual = max(self._forms, key=lambda form: len(self._forms[form]))
        for form, paths in self._forms.items():
            for path in paths if form != usual else []:
                report.add(
                    path,
                    f'is loaded with {_describe(form)}, most others with '
                    f'{_describe(usual)}',
                )

    def _count_classes(self, report: Report, valid: LabelRange) -> None:
        names = valid.classes
        absent = [name for i, name in enumerate(names) if i not in self._labels]
        report.note_absent(absent, len(names))
        if len(names) < 2 or len(absent) < len(names) - 1:
            return
        present = next((name for name in names if name not in absent), None)
        message = f'the label maps show none of their {len(names)} classes'
        if present:
            message = (
                f"of their {len(names)} classes the label maps show only '{present}'"
            )
        if valid.ignored in self._labels and valid.first:
            message += f'; 0 and {valid.ignored} are ignored (reduce_zero_label)'
        elif valid.ignored in self._labels:
            message += (
                f'; {valid.ignored} is ignored, so a mask of 0 and {valid.ignored} '
                f'must hold 1 in place of {valid.ignored}'
            )
        report.add(report.label_folder, message)


def _describe(form: tuple[int, str]) -> str:
    channels, kind = form
    return f'{channels} {"channel" if channels == 1 else "channels"} of {kind}'
