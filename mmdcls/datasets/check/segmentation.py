"""The layout of mmseg's data sets: a folder of images and one of label maps."""

from __future__ import annotations

import os

from .files import folders_exist, list_files
from .labels import ClassList
from .report import LabelRange, Report, Sample
from .source import Source


def list_segmentation(source: Source, report: Report) -> list[Sample]:
    """List a label map for every image, and no other."""
    dataset = source.dataset
    images = report.folder = dataset.data_prefix['img_path']
    maps = report.label_folder = dataset.data_prefix['seg_map_path']
    if not folders_exist(report, images, maps):
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


def _label_range(dataset: object) -> LabelRange:
    classes = tuple(dataset.metainfo['classes'])
    # With reduce_zero_label, 0 is "other" and classes count from 1.
    first = int(bool(dataset.reduce_zero_label))
    # A choice among the classes of the files is mapped to other labels.
    in_files = len(dataset.label_map or classes)
    return LabelRange(classes, first, in_files - 1 + first, dataset.ignore_index)


def classes_of_segmentation(source: Source, largest_file: int) -> ClassList | None:
    """Give the classes that the data set is told to have."""
    return source.told_classes()
