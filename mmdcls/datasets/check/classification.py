"""The layout of mmpretrain's data sets: a folder a class, or a file of labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .files import folders_exist, is_file_up_to, list_files, list_folders
from .labels import ClassList
from .report import Report, Sample
from .source import Source


def list_classification(source: Source, report: Report) -> list[Sample]:
    """List the images of class folders, or those that a file of labels names."""
    dataset = source.dataset
    images = report.folder = dataset.img_prefix
    suffixes = tuple(dataset.extensions)
    if not folders_exist(report, images):
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
    samples = []
    for folder in folders:
        paths = list_files(folder, suffixes)
        if not paths:
            report.add(folder, 'is a class folder without images')
        samples += map(_sample, paths)
    return samples


def classes_of_classification(source: Source, largest_file: int) -> ClassList | None:
    """Give the class folders in the order of their labels.

    With a file of labels, give the classes that the data set is told to have, or else
    how many the labels of a file up to ``largest_file`` bytes tell of.
    """
    dataset = source.dataset
    if not dataset.with_label:
        return None
    told = source.told_classes()
    if dataset.ann_file:
        return told or _count_labels(source, largest_file)
    if not os.path.isdir(dataset.img_prefix):
        return told
    names = tuple(map(os.path.basename, list_folders(dataset.img_prefix)))
    count = told.count if told else len(names)
    where = f'class folders of {dataset.img_prefix}'
    return ClassList(source.key, 'class folders', names, count, where)


def _sample(path: str) -> Sample:
    return Sample({'img_path': path})


def _list_lines(dataset: object, report: Report) -> list[Sample]:
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


def _read_lines(dataset: object) -> Iterator[tuple[str, str, int | None]]:
    """Yield every line with its path and label; 0 where the file has no labels."""
    for line in Path(dataset.ann_file).read_text().splitlines():
        if dataset.with_label:
            name, _, label = line.strip().rpartition(' ')
            yield line, name, int(label) if label.isdecimal() else None
        else:
            yield line, line.strip(), 0


def _count_labels(source: Source, largest_file: int) -> ClassList | None:
    if not is_file_up_to(source.dataset.ann_file, largest_file):
        return None
    try:
        labels = [label or 0 for _, _, label in _read_lines(source.dataset)]
    except (OSError, ValueError):
        return None
    return ClassList(source.key, 'labels', (), max(labels, default=-1) + 1)
