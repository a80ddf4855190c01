"""Verify that a data set lies on disk as its config expects, before a long run."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image

PUBLISHED_COUNTS = {
    ('ADE20KDataset', 'training'): 20_210,
    ('ADE20KDataset', 'validation'): 2_000,
    ('CocoDataset', 'train2017'): 118_287,
    ('CocoDataset', 'val2017'): 5_000,
    ('ImageNet', 'train'): 1_281_167,
    ('ImageNet', 'val'): 50_000,
}
"""Images of the published data sets, by type and image folder."""

_IGNORED_LABEL = 255
_SHOWN_VALUES = 5


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: The file or folder.
        message: What is wrong with it, without a full stop.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f'{self.path}: {self.message}'


@dataclass(frozen=True)
class Sample:
    """An image and what must be true of it.

    Attributes:
        image: Its path.
        size: Width and height that an annotation file tells.
        label_map: Path of the image that holds its labels.
        labels: Values that the label map may hold.
    """

    image: str
    size: tuple[int, int] | None = None
    label_map: str | None = None
    labels: frozenset[int] = frozenset()


@dataclass
class Report:
    """What was found about one data set of a config.

    Attributes:
        key: Where the config has it, such as ``'train_dataloader.dataset'``.
        type: The name of its class.
        folder: Where its images are.
        counts: Number of images, and of label maps, annotations or classes.
        published: Images of the published data set, where known.
        problems: All that is wrong, in the order of the files.
    """

    key: str
    type: str
    folder: str
    counts: dict[str, int] = field(default_factory=dict)
    published: int | None = None
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: str | os.PathLike, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(str(path), message))


def check_dataset(
    key: str,
    config: dict,
    workers: int = 4,
    progress: Callable[[str, int, int], None] = lambda key, done, total: None,
) -> Report:
    """Check one data set of a config: its layout, then every file of it.

    Images are decoded to their last pixel: OpenCV, which the training reads them with,
    fills up truncated ones without a word.

    Args:
        key: Where the config has it; for the report.
        config: The data set as the config describes it, in the current default scope.
        workers: Threads that decode images.
        progress: Called with (key, images checked, images in all).

    Raises:
        ValueError: If the data set's class has none of the layouts known here, or if
            it refuses the config's settings.
    """
    dataset = _build(key, config)
    layout = _LAYOUTS[_kind(key, dataset)]
    report = Report(key, type(dataset).__name__, '')
    samples = layout(dataset, report)
    report.counts = {'images': len(samples), **report.counts}
    folder = Path(report.folder).name
    report.published = PUBLISHED_COUNTS.get((report.type, folder))
    progress(key, 0, len(samples))
    with warnings.catch_warnings(), ThreadPool(workers) as pool:
        # Oddities of EXIF tags and the like, which no reader stumbles over.
        warnings.simplefilter('ignore')
        results = pool.imap(check_sample, samples, chunksize=16)
        for done, problems in enumerate(results, start=1):
            report.problems += problems
            progress(key, done, len(samples))
    return report


def _build(key: str, config: dict) -> object:
    """Build the data set without listing its files: it resolves its paths itself."""
    from mmengine.registry import DATASETS

    config = {k: v for k, v in config.items() if k not in ('pipeline', 'lazy_init')}
    try:
        return DATASETS.build(dict(config, pipeline=[], lazy_init=True))
    except (AssertionError, TypeError, KeyError) as error:
        raise ValueError(
            f"{key}: type='{config.get('type')}' cannot be checked: {error}"
        ) from error


def _kind(key: str, dataset: object) -> str:
    names = [cls.__name__ for cls in type(dataset).__mro__]
    for kind in _LAYOUTS:
        if kind in names:
            return kind
    raise ValueError(
        f'{key}: {names[0]} cannot be checked; data sets derived from '
        f'{", ".join(_LAYOUTS)} can.'
    )


def list_segmentation(dataset: object, report: Report) -> list[Sample]:
    """List an mmseg data set: a label map for every image, and no other."""
    images = report.folder = dataset.data_prefix['img_path']
    maps = dataset.data_prefix['seg_map_path']
    if not _folders_exist(report, images, maps):
        return []
    classes = len(dataset.metainfo['classes'])
    # With reduce_zero_label, 0 is "other" and classes count from 1.
    labels = set(range(classes + 1 if dataset.reduce_zero_label else classes))
    if not dataset.reduce_zero_label:
        labels.add(_IGNORED_LABEL)
    samples = []
    for item in dataset.load_data_list():
        label_map = item['seg_map_path']
        if not os.path.isfile(label_map):
            report.add(item['img_path'], f"has no label map '{label_map}'")
            label_map = None
        samples.append(Sample(item['img_path'], None, label_map, frozenset(labels)))
    wanted = {sample.label_map for sample in samples}
    present = _files(maps, dataset.seg_map_suffix)
    if not dataset.ann_file:
        for path in present:
            if path not in wanted:
                report.add(path, 'is a label map without an image')
    if not samples:
        report.add(images, f"holds no image that ends in '{dataset.img_suffix}'")
    report.counts['label maps'] = len(present)
    return samples


def list_coco(dataset: object, report: Report) -> list[Sample]:
    """List an mmdet data set in COCO's format by its annotation file."""
    images = report.folder = dataset.data_prefix['img']
    if not _folders_exist(report, images):
        return []
    try:
        content = json.loads(Path(dataset.ann_file).read_text())
        listed = {image['id']: image for image in content['images']}
        annotations = content['annotations']
        names = {category['id']: category['name'] for category in content['categories']}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f'{type(error).__name__}: {error}'
        report.add(dataset.ann_file, f'is no annotation file in COCO format ({reason})')
        return []
    report.counts['annotations'] = len(annotations)
    report.counts['classes'] = len(names)
    for name in sorted(set(dataset.metainfo['classes']) - set(names.values())):
        report.add(dataset.ann_file, f"lacks the category '{name}'")
    for annotation in annotations:
        which = f'annotation {annotation.get("id")}'
        for field_name, known in (('image_id', listed), ('category_id', names)):
            value = annotation.get(field_name)
            if value not in known:
                report.add(
                    dataset.ann_file,
                    f'{which} has {field_name}={value}, which the file does not list',
                )
    samples = []
    for image in listed.values():
        path = os.path.join(images, image['file_name'])
        if os.path.isfile(path):
            samples.append(Sample(path, (image['width'], image['height'])))
        else:
            report.add(path, f'does not exist, but {dataset.ann_file} names it')
    if not listed:
        report.add(dataset.ann_file, 'lists no image')
    return samples


def list_classification(dataset: object, report: Report) -> list[Sample]:
    """List an mmpretrain data set: a folder a class, or a file of paths and labels."""
    images = report.folder = dataset.img_prefix
    if not _folders_exist(report, images):
        return []
    classes = dataset.CLASSES
    if dataset.ann_file:
        return _list_lines(dataset, report, len(classes) if classes else None)
    if not dataset.with_label:
        return [Sample(path) for path in _files(images, tuple(dataset.extensions))]
    folders = sorted(entry.path for entry in os.scandir(images) if entry.is_dir())
    report.counts['classes'] = len(folders)
    if classes and len(folders) != len(classes):
        # Labels are the folders' ranks: one that is missing shifts those after it.
        report.add(
            images, f'holds {len(folders)} class folders, but there are {len(classes)}'
        )
    samples = []
    for folder in folders:
        paths = _files(folder, tuple(dataset.extensions))
        if not paths:
            report.add(folder, 'is a class folder without images')
        samples += map(Sample, paths)
    return samples


def _list_lines(dataset: object, report: Report, classes: int | None) -> list[Sample]:
    try:
        lines = Path(dataset.ann_file).read_text().splitlines()
    except (OSError, ValueError) as error:
        report.add(dataset.ann_file, f'cannot be read ({error})')
        return []
    samples, labels = [], set()
    for number, line in enumerate(lines, start=1):
        name, _, label = line.strip().rpartition(' ')
        if not dataset.with_label:
            name, label = line.strip(), '0'
        if not name or not label.isdecimal() or (classes and int(label) >= classes):
            wanted = f'below {classes}' if classes else 'from 0'
            report.add(
                f'{dataset.ann_file}:{number}',
                f"'{line}' is not an image's path and a label {wanted}",
            )
            continue
        labels.add(int(label))
        path = os.path.join(report.folder, name)
        if os.path.isfile(path):
            samples.append(Sample(path))
        else:
            report.add(path, f'does not exist, but {dataset.ann_file} names it')
    report.counts['classes'] = len(labels)
    return samples


_LAYOUTS: dict[str, Callable[[object, Report], list[Sample]]] = {
    'BaseSegDataset': list_segmentation,
    'CocoDataset': list_coco,
    'CustomDataset': list_classification,
}
"""Name of the upstream class that a data set derives from, to its layout."""


def _folders_exist(report: Report, *folders: str) -> bool:
    missing = [folder for folder in folders if not os.path.isdir(folder)]
    for folder in missing:
        report.add(folder, 'is no folder')
    return not missing


def _files(folder: str, suffixes: str | tuple[str, ...]) -> list[str]:
    """Every file below ``folder`` whose name ends so, in any case, sorted."""
    suffixes = (suffixes,) if isinstance(suffixes, str) else suffixes
    suffixes = tuple(suffix.lower() for suffix in suffixes)
    return sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(suffixes)
    )


def check_sample(sample: Sample) -> list[Problem]:
    """Decode an image and its label map, and say what is wrong with them."""
    problems = []
    pixels = _decode(sample.image, problems)
    if pixels is None:
        return problems
    size = pixels.shape[1], pixels.shape[0]
    if sample.size and size != tuple(sample.size):
        problems.append(
            Problem(
                sample.image,
                f'is {size[0]}x{size[1]}, but its annotation says '
                f'{sample.size[0]}x{sample.size[1]}',
            )
        )
    if sample.label_map:
        labels = _decode(sample.label_map, problems)
        if labels is not None:
            problems += _check_labels(sample, labels, pixels.shape[:2])
    return problems


def _decode(path: str, problems: list[Problem]) -> np.ndarray | None:
    try:
        with Image.open(path) as image:
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        problems.append(Problem(path, f'cannot be read ({error})'))
        return None


def _check_labels(
    sample: Sample, labels: np.ndarray, shape: tuple[int, int]
) -> Iterable[Problem]:
    path = sample.label_map
    if labels.ndim != 2:
        yield Problem(path, f'has {labels.shape[2]} channels, a label map has one')
        return
    if labels.shape != shape:
        yield Problem(
            path,
            f'is {labels.shape[1]}x{labels.shape[0]}, but its image is '
            f'{shape[1]}x{shape[0]}',
        )
    wrong = sorted(set(np.unique(labels).tolist()) - sample.labels)
    if wrong:
        shown = ', '.join(map(str, wrong[:_SHOWN_VALUES]))
        more = ', …' if len(wrong) > _SHOWN_VALUES else ''
        valid = sample.labels - {_IGNORED_LABEL}
        yield Problem(
            path,
            f'holds labels outside of {min(valid)} to {max(valid)}: {shown}{more}',
        )
