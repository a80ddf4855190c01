"""COCO's annotation files, and the keys without which mmdet ends in a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mmdcls.datasets.loading import iter_steps, transform_name

from .files import is_file_up_to
from .report import Problem
from .source import Source


def read_coco(path: str, needs_annotations: bool = False) -> dict:
    """Read an annotation file.

    Raises:
        ValueError: If it has another format.
    """
    lists = ['images', 'categories', *(['annotations'] if needs_annotations else [])]
    try:
        content = json.loads(Path(path).read_text())
        for name in lists:
            if not all(isinstance(part, dict) for part in content[name]):
                raise TypeError(f'{name} must be a list of dictionaries')
        for category in content['categories']:
            category['id'], category['name']
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f'{type(error).__name__}: {error}'
        raise ValueError(f'is no annotation file in COCO format ({reason})') from error
    return content


def category_names(content: dict) -> dict[int, str]:
    """Give the names of the categories by their ids, in the order of the file."""
    return {category['id']: category['name'] for category in content['categories']}


def orders_by_file(dataset: object) -> bool:
    """Tell whether a data set reads annotations as mmdet's CocoDataset does.

    Its labels are then the ranks of the categories in the annotation file.
    """
    owner = next(c for c in type(dataset).__mro__ if 'load_data_list' in vars(c))
    return owner.__name__ == 'CocoDataset'


def find_missing_keys(
    source: Source,
    contents: Mapping[str, dict] = MappingProxyType({}),
    largest_file: int | None = None,
) -> list[Problem]:
    """Report the keys whose absence ends a training or an evaluation.

    Args:
        source: The data set, its pipeline and its metrics.
        contents: Annotation files that have been read, by their paths.
        largest_file: In bytes; larger files are not read, nor ones that are not there.
            None stands for reading them all.
    """
    contents = dict(contents)
    problems = {}
    for need in _needs(source):
        if need.path not in contents:
            if largest_file is not None and not is_file_up_to(need.path, largest_file):
                continue
            try:
                contents[need.path] = read_coco(need.path)
            except ValueError as error:
                return [Problem(need.path, str(error))]
        parts = need.choose(contents[need.path], source)
        lacking = [part for part in parts if not need.is_met(part)]
        if lacking:
            which = lacking[0].get('id', lacking[0].get('file_name'))
            problems.setdefault(
                (need.path, need.what, need.key),
                Problem(
                    need.path,
                    f'{len(lacking)} of {len(parts)} {need.what}s have no '
                    f"'{need.key}' (the first: {need.what} {which}), and "
                    f'{need.reader} ends in an error without it',
                ),
            )
    return list(problems.values())


def _images(content: dict, source: Source) -> list[dict]:
    return content['images']


def _every_annotation(content: dict, source: Source) -> list[dict]:
    return content.get('annotations', [])


def _of_classes(content: dict, source: Source) -> list[dict]:
    """Those that a metric compares with predictions."""
    classes = set(source.dataset.metainfo['classes'])
    names = category_names(content)
    return [
        annotation
        for annotation in _every_annotation(content, source)
        if names.get(annotation.get('category_id')) in classes
    ]


def _not_ignored(content: dict, source: Source) -> list[dict]:
    """Those that CocoDataset looks at."""
    every = _every_annotation(content, source)
    return [annotation for annotation in every if not annotation.get('ignore')]


def _kept(content: dict, source: Source) -> list[dict]:
    """Those that CocoDataset gives to its pipeline."""
    images = {image.get('id'): image for image in content['images']}

    def is_kept(annotation: dict) -> bool:
        image = images.get(annotation.get('image_id'), {})
        x, y, width, height = annotation.get('bbox') or (0, 0, 0, 0)
        return (
            not annotation.get('ignore')
            and annotation.get('area', 0) > 0
            and min(width, height) >= 1
            and min(x + width, image.get('width', 0)) > max(x, 0)
            and min(y + height, image.get('height', 0)) > max(y, 0)
        )

    return [a for a in _of_classes(content, source) if is_kept(a)]


@dataclass(frozen=True)
class _Need:
    """A key that somebody reads.

    Attributes:
        path: The annotation file.
        key: The key.
        reader: Who reads it, for messages.
        choose: Gives the images or annotations that are read.
    """

    path: str
    key: str
    reader: str
    choose: Callable[[dict, Source], list[dict]]

    @property
    def what(self) -> str:
        """What has the key, or has it not."""
        return 'image' if self.choose is _images else 'annotation'

    def is_met(self, part: dict) -> bool:
        """Tell whether the key is there; an empty segmentation counts as none."""
        if self.key == 'segmentation':
            return bool(part.get(self.key))
        return self.key in part


def _needs(source: Source) -> Iterator[_Need]:
    """Yield what the data set, its pipeline and its metrics read, in this order."""
    if not orders_by_file(source.dataset):
        return  # It reads annotations in its own way.
    own_file = source.dataset.ann_file
    name = type(source.dataset).__name__
    for choose, keys in (
        (_images, ('id', 'file_name', 'width', 'height')),
        (_every_annotation, ('id', 'image_id', 'category_id')),
        (_not_ignored, ('bbox', 'area')),
    ):
        yield from (_Need(own_file, key, name, choose) for key in keys)
    for step in iter_steps(source.pipeline):
        if transform_name(step) == 'LoadAnnotations' and step.get('with_mask'):
            name = 'LoadAnnotations(with_mask=True)'
            yield _Need(own_file, 'segmentation', name, _kept)
    for metric in source.metrics:
        if transform_name(metric) == 'CocoMetric' and not metric.get('format_only'):
            yield from _needs_of_metric(metric, own_file)


def _needs_of_metric(metric: Mapping, data_file: str) -> Iterator[_Need]:
    kinds = metric.get('metric', 'bbox')
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    name = f'CocoMetric(metric={kinds})'
    path = metric.get('ann_file')
    if not path:
        # It measures by what the data set gave, which has all keys but this.
        if 'segm' in kinds:
            yield _Need(data_file, 'segmentation', name, _kept)
        return
    images, annotations = ['id'], ['area', 'iscrowd']
    if 'segm' in kinds:
        images += ['width', 'height']
        annotations.append('segmentation')
    if kinds != ['segm']:
        annotations.append('bbox')
    yield from (_Need(path, key, name, _images) for key in images)
    for key in ('id', 'image_id', 'category_id'):
        yield _Need(path, key, name, _every_annotation)
    yield from (_Need(path, key, name, _of_classes) for key in annotations)
