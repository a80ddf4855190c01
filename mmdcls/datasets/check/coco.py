"""The layout of mmdet's data sets in COCO's format: images and one file about them."""

from __future__ import annotations

import os

from .coco_file import category_names, find_missing_keys, orders_by_file, read_coco
from .files import folders_exist, is_file_up_to
from .labels import ClassList
from .report import Report, Sample
from .source import Source


def list_coco(source: Source, report: Report) -> list[Sample]:
    """List the images of the annotation file."""
    dataset = source.dataset
    images = report.folder = dataset.data_prefix['img']
    if not folders_exist(report, images):
        return []
    try:
        # Test sets may come without annotations.
        content = read_coco(dataset.ann_file, needs_annotations=not dataset.test_mode)
    except ValueError as error:
        report.add(dataset.ann_file, str(error))
        return []
    report.problems += find_missing_keys(source, {dataset.ann_file: content})
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


def classes_of_coco(source: Source, largest_file: int) -> ClassList | None:
    """Give the categories in the order of their labels: that of the annotation file.

    Of a file beyond ``largest_file`` bytes, and of data sets that order them
    themselves, give the classes that they are told to have.
    """
    dataset = source.dataset
    told = source.told_classes()
    path = dataset.ann_file
    if (
        told is None
        or not orders_by_file(dataset)
        or not is_file_up_to(path, largest_file)
    ):
        return told
    try:
        names = _labels_in_file(dataset, read_coco(path))
    except ValueError:
        return told
    return ClassList(
        source.key, 'categories', tuple(names), told.count, f'categories of {path}'
    )


def _labels_in_file(dataset: object, content: dict) -> list[str]:
    """Names of the labels that mmdet gives: the file's order, whatever the classes'."""
    classes = set(dataset.metainfo['classes'])
    return [name for name in category_names(content).values() if name in classes]


def _check_categories(dataset: object, content: dict, report: Report) -> None:
    names = category_names(content)
    classes = list(dataset.metainfo['classes'])
    for name in sorted(set(classes) - set(names.values())):
        report.add(dataset.ann_file, f"lacks the category '{name}'")
    labels = _labels_in_file(dataset, content)
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
