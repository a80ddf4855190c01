"""The layout of mmdet's data sets in COCO's format: images and one file about them.

Without some keys of that file, mmdet ends in a traceback. Which ones depends on what
reads it: the data set, its pipeline, its metrics.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmdcls.datasets.loading import iter_steps, transform_name

from .labels import ClassList
from .report import Problem, Report, Sample
from .source import Source, category_names


def list_coco(source: Source, report: Report) -> list[Sample]:
    """List the images of the annotation file."""
    dataset = source.dataset
    images = report.folder = dataset.data_prefix['img']
    if not report.has_folders(images):
        return []
    try:
        content = source.files.read_coco(dataset.ann_file)
        if 'annotations' not in content and not dataset.test_mode:
            raise ValueError(
                'is no annotation file in COCO format for training: it has no key '
                "'annotations'"
            )
    except ValueError as error:
        report.add(dataset.ann_file, str(error))
        return []
    report.problems += find_missing_keys(source)
    annotations = content.get('annotations', [])
    report.counts['annotations'] = len(annotations)
    report.counts['classes'] = len(content['categories'])
    listed = {image['id']: image for image in content['images'] if 'id' in image}
    _check_categories(dataset, content, report)
    known = {'image_id': listed, 'category_id': category_names(content)}
    for annotation in annotations:
        for name, values in known.items():
            if name in annotation and annotation[name] not in values:
                report.add(
                    dataset.ann_file,
                    f'annotation {annotation.get("id")} has {name}={annotation[name]}, '
                    'which the file does not list',
                )
    if not listed:
        report.add(dataset.ann_file, 'lists no image')
    samples = []
    for image in content['images']:
        if not {'file_name', 'width', 'height'} <= image.keys():
            continue
        path = os.path.join(images, image['file_name'])
        if os.path.isfile(path):
            item = {'img_path': path}
            samples.append(Sample(item, (image['width'], image['height'])))
        else:
            report.add(path, f'does not exist, but {dataset.ann_file} names it')
    return samples


def classes_of_coco(source: Source) -> ClassList | None:
    """Give the categories in the order of their labels: that of the annotation file.

    Of a file that is too large, and of data sets that order them themselves, give the
    classes that they are told to have.
    """
    dataset = source.dataset
    told = source.told_classes()
    path = dataset.ann_file
    if told is None or not orders_by_file(dataset) or not source.files.may_read(path):
        return told
    try:
        names = _labels_in_file(dataset, source.files.category_names(path))
    except ValueError:
        return told
    return ClassList(
        source.key, 'categories', tuple(names), told.count, f'categories of {path}'
    )


def _labels_in_file(dataset: Any, categories: dict[int, str]) -> list[str]:
    """List the names of mmdet's labels: the file's order, whatever the classes'."""
    classes = set(dataset.metainfo['classes'])
    return [name for name in categories.values() if name in classes]


def _check_categories(dataset: Any, content: dict, report: Report) -> None:
    names = category_names(content)
    classes = list(dataset.metainfo['classes'])
    for name in sorted(set(classes) - set(names.values())):
        report.add(dataset.ann_file, f"lacks the category '{name}'")
    labels = _labels_in_file(dataset, names)
    if orders_by_file(dataset) and labels != [c for c in classes if c in set(labels)]:
        first = next(i for i, name in enumerate(labels) if name != classes[i])
        report.add(
            dataset.ann_file,
            "orders its categories otherwise than the data set's classes: label "
            f"{first}, named '{classes[first]}', is '{labels[first]}'",
            may_be_meant=True,
        )
    annotations = content.get('annotations', [])
    seen = {names.get(annotation.get('category_id')) for annotation in annotations}
    if annotations:
        absent = [name for name in labels if name not in seen]
        report.note_absent(absent, len(labels))


def orders_by_file(dataset: Any) -> bool:
    """Tell whether a data set reads annotations as mmdet's CocoDataset does.

    Its labels are then the ranks of the categories in the annotation file.
    """
    owner = next(c for c in type(dataset).__mro__ if 'load_data_list' in vars(c))
    return owner.__name__ == 'CocoDataset'


def find_missing_keys(source: Source) -> list[Problem]:
    """Report the keys whose absence ends a training or an evaluation."""
    problems: dict[tuple, Problem] = {}
    for need in _needs(source):
        if not source.files.may_read(need.path):
            continue
        try:
            content = source.files.read_coco(need.path)
        except ValueError as error:
            return [Problem(need.path, str(error))]
        parts = need.choose(content, source)
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
    """Return those that a metric compares with predictions."""
    classes = set(source.dataset.metainfo['classes'])
    names = category_names(content)
    return [
        annotation
        for annotation in _every_annotation(content, source)
        if names.get(annotation.get('category_id')) in classes
    ]


def _not_ignored(content: dict, source: Source) -> list[dict]:
    """Return those that CocoDataset looks at."""
    every = _every_annotation(content, source)
    return [annotation for annotation in every if not annotation.get('ignore')]


def _kept(content: dict, source: Source) -> list[dict]:
    """Return those that CocoDataset gives to its pipeline."""
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
        """Say what has the key, or has it not."""
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
