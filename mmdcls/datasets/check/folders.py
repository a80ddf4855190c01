"""The layouts of folders: mmpretrain's data sets, and mmseg's.

mmpretrain has a folder of images for each class, or a file that gives every image its
label; mmseg has a folder of images and one of label maps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmdcls.datasets.loading import refuse_special_file

from .labels import ClassList
from .report import LabelRange, Report, Sample
from .source import Source


def list_classification(source: Source, report: Report) -> list[Sample]:
    """List the images of class folders, or those that a file of labels names."""
    dataset = source.dataset
    images = report.folder = dataset.img_prefix
    suffixes = tuple(dataset.extensions)
    if not report.has_folders(images):
        return []
    if dataset.ann_file:
        return _list_lines(dataset, report)
    if not dataset.with_label:
        return [_sample(path) for path in list_files(images, suffixes)]
    classes = dataset.CLASSES
    folders = list_folders(images)
    report.counts['classes'] = len(folders)
    if classes and len(folders) != len(classes):
        # Labels are the folders' ranks: one that is missing shifts those after it.
        report.add(
            images, f'holds {len(folders)} class folders, but there are {len(classes)}'
        )
    samples: list[Sample] = []
    for folder in folders:
        paths = list_files(folder, suffixes)
        if not paths:
            report.add(folder, 'is a class folder without images')
        samples += map(_sample, paths)
    return samples


def classes_of_classification(source: Source) -> ClassList | None:
    """Give the class folders in the order of their labels.

    With a file of labels, give the classes that the data set is told to have, or else
    how many the labels of the file tell of.
    """
    dataset = source.dataset
    if not dataset.with_label:
        return None
    told = source.told_classes()
    if dataset.ann_file:
        return told or _count_labels(source)
    if not os.path.isdir(dataset.img_prefix):
        return told
    names = tuple(map(os.path.basename, list_folders(dataset.img_prefix)))
    count = told.count if told else len(names)
    where = f'class folders of {dataset.img_prefix}'
    return ClassList(source.key, 'class folders', names, count, where)


def _sample(path: str) -> Sample:
    return Sample({'img_path': path})


def _list_lines(dataset: Any, report: Report) -> list[Sample]:
    classes = dataset.CLASSES
    try:
        lines = list(_read_lines(dataset))
    except (OSError, ValueError) as error:
        report.add(dataset.ann_file, f'cannot be read ({error})')
        return []
    samples, labels = [], set()
    for number, (line, name, label) in enumerate(lines, start=1):
        if not name or label is None or (classes and label >= len(classes)):
            wanted = f'below {len(classes)}' if classes else 'from 0'
            report.add(
                f'{dataset.ann_file}:{number}',
                f"'{line}' is not an image's path and a label {wanted}",
            )
            continue
        labels.add(label)
        path = os.path.join(report.folder, name)
        if os.path.isfile(path):
            samples.append(_sample(path))
        else:
            report.add(path, f'does not exist, but {dataset.ann_file} names it')
    if dataset.with_label:
        report.counts['classes'] = len(labels)
        names = classes or range(max(labels, default=-1) + 1)
        absent = [name for i, name in enumerate(names) if i not in labels]
        report.note_absent(absent, len(names))
    return samples


def _read_lines(dataset: Any) -> Iterator[tuple[str, str, int | None]]:
    """Yield every line with its path and label; 0 where the file has no labels."""
    refuse_special_file(dataset.ann_file)
    for line in Path(dataset.ann_file).read_text().splitlines():
        if dataset.with_label:
            name, _, label = line.strip().rpartition(' ')
            yield line, name, int(label) if label.isdecimal() else None
        else:
            yield line, line.strip(), 0


def _count_labels(source: Source) -> ClassList | None:
    if not source.files.may_read(source.dataset.ann_file):
        return None
    try:
        labels = [label or 0 for _, _, label in _read_lines(source.dataset)]
    except (OSError, ValueError):
        return None
    return ClassList(source.key, 'labels', (), max(labels, default=-1) + 1)


def list_segmentation(source: Source, report: Report) -> list[Sample]:
    """List a label map for every image, and no other."""
    dataset = source.dataset
    images = report.folder = dataset.data_prefix['img_path']
    maps = report.label_folder = dataset.data_prefix['seg_map_path']
    if not report.has_folders(images, maps):
        return []
    labels = _label_range(dataset)
    samples = []
    for item in dataset.load_data_list():
        label_map = item['seg_map_path']
        exists = os.path.isfile(label_map)
        if not exists:
            report.add(item['img_path'], f"has no label map '{label_map}'")
        samples.append(Sample(item, labels=labels if exists else None))
    wanted = {sample.item['seg_map_path'] for sample in samples if sample.labels}
    present = list_files(maps, dataset.seg_map_suffix)
    if not dataset.ann_file:
        for path in present:
            if path not in wanted:
                report.add(path, 'is a label map without an image')
    if not samples:
        report.add(images, f"holds no image that ends in '{dataset.img_suffix}'")
    report.counts['label maps'] = len(present)
    return samples


def _label_range(dataset: Any) -> LabelRange:
    classes = tuple(dataset.metainfo['classes'])
    # With reduce_zero_label, 0 is "other" and classes count from 1.
    first = int(bool(dataset.reduce_zero_label))
    # A choice among the classes of the files is mapped to other labels.
    in_files = len(dataset.label_map or classes)
    return LabelRange(classes, first, in_files - 1 + first, dataset.ignore_index)


def classes_of_segmentation(source: Source) -> ClassList | None:
    """Give the classes that the data set is told to have."""
    return source.told_classes()


def list_files(folder: str, suffixes: str | tuple[str, ...]) -> list[str]:
    """List the files below ``folder`` whose names end so, in any case, sorted."""
    suffixes = (suffixes,) if isinstance(suffixes, str) else suffixes
    suffixes = tuple(suffix.lower() for suffix in suffixes)
    return sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(suffixes)
    )


def list_folders(folder: str) -> list[str]:
    """List the folders in ``folder``, sorted, as mmpretrain ranks classes."""
    return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
