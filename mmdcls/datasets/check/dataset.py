"""Check one data set of a config, or tell its classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from mmdcls.datasets.loading import loading_steps
from mmdcls.errors import ArgumentError

from .coco import classes_of_coco, find_missing_keys, list_coco
from .folders import (
    classes_of_classification,
    classes_of_segmentation,
    list_classification,
    list_segmentation,
)
from .images import PipelineLoader, Summary, check_sample
from .labels import ClassList
from .report import Problem, Report, Sample
from .source import Source

PUBLISHED_COUNTS = {
    ('ADE20KDataset', 'training'): 20_210,
    ('ADE20KDataset', 'validation'): 2_000,
    ('CocoDataset', 'train2017'): 118_287,
    ('CocoDataset', 'val2017'): 5_000,
    ('ImageNet', 'train'): 1_281_167,
    ('ImageNet', 'val'): 50_000,
}
"""Images of the published data sets, by type and image folder."""


class Layout(NamedTuple):
    """What is known about one way to keep a data set."""

    list: Callable[[Source, Report], list[Sample]]
    classes: Callable[[Source], ClassList | None]


LAYOUTS = {
    'BaseSegDataset': Layout(list_segmentation, classes_of_segmentation),
    'CocoDataset': Layout(list_coco, classes_of_coco),
    'CustomDataset': Layout(list_classification, classes_of_classification),
}
"""Name of the upstream class that a data set derives from, to its layout."""

_OTHERWISE = ('CocoPanopticDataset',)
"""Classes that derive from one of these, and keep their data otherwise."""


def check_datasets(
    sources: Sequence[Source],
    workers: int = 4,
    progress: Callable[[str, int, int], None] = lambda key, done, total: None,
) -> list[Report]:
    """Check data sets, those that several splits use alike once.

    Args:
        sources: The data sets of a config, see :func:`open_sources`.
        workers: Threads that decode images.
        progress: Called with (key, images checked, images in all).

    Raises:
        ArgumentError: If :func:`check_dataset` raises it.
    """
    reports: list[Report] = []
    seen: list[tuple] = []
    for source in sources:
        names = ('type', 'split', 'data_root', 'data_prefix', 'ann_file')
        paths = {name: source.config[name] for name in names if name in source.config}
        use = (paths, loading_steps(source.pipeline), source.metrics)
        if use not in seen:
            seen.append(use)
            reports.append(check_dataset(source, workers, progress))
    return reports


def check_dataset(
    source: Source,
    workers: int = 4,
    progress: Callable[[str, int, int], None] = lambda key, done, total: None,
) -> Report:
    """Check one data set of a config: its layout, then every file of it.

    Images and label maps are read with the loading transforms of its own pipeline, so
    that what is judged is what the model gets, and then decoded to their last pixel.

    Args:
        source: The data set; its transforms are built in the current default scope.
        workers: Threads that decode images.
        progress: Called with (key, images checked, images in all).

    Raises:
        ArgumentError: If the data set's class has none of the layouts known here, or if
            its pipeline refuses the config's settings.
    """
    key = source.key
    kind = _find_layout(source.dataset)
    if kind is None:
        raise ArgumentError(
            f'{key}: {type(source.dataset).__name__} cannot be checked; data sets '
            f'derived from {", ".join(LAYOUTS)} can, but for {", ".join(_OTHERWISE)}.'
        )
    layout = LAYOUTS[kind]
    loader = PipelineLoader(source.pipeline)
    report = Report(key, type(source.dataset).__name__)
    samples = layout.list(source, report)
    # Gigabytes of annotations, which decoding the images has no use for.
    source.files.drop_contents()
    report.counts = {'images': len(samples), **report.counts}
    folder = Path(report.folder).name
    report.published = PUBLISHED_COUNTS.get((report.type, folder))
    if not loader.knows_pipeline:
        report.notes.append(
            'its pipeline has no transform named Load…Image…; images were read as '
            "LoadImageFromFile's defaults do"
        )
    progress(key, 0, len(samples))
    summary = Summary()
    with warnings.catch_warnings(), ThreadPool(workers) as pool:
        # Oddities of EXIF tags and the like, which no reader stumbles over.
        warnings.simplefilter('ignore')
        findings = pool.imap(lambda s: check_sample(s, loader), samples, chunksize=16)
        for done, found in enumerate(findings, start=1):
            report.problems += found.problems
            summary.add(found)
            progress(key, done, len(samples))
    summary.report_to(report)
    return report


def read_classes(source: Source) -> ClassList | None:
    """Give the classes of a data set without a look at its images.

    Returns:
        None where this cannot be told, or where classes mean something else, as in
        detection by free text.
    """
    kind = _find_layout(source.dataset)
    return source.told_classes() if kind is None else LAYOUTS[kind].classes(source)


def check_annotations(source: Source) -> list[Problem]:
    """Look for what a training or an evaluation dies of in annotation files."""
    is_coco = _find_layout(source.dataset) == 'CocoDataset'
    return find_missing_keys(source) if is_coco else []


def _find_layout(dataset: object) -> str | None:
    """Return the class among ``LAYOUTS`` that a data set derives from, by its name."""
    names = [cls.__name__ for cls in type(dataset).__mro__]
    if set(names) & set(_OTHERWISE):
        return None
    return next((kind for kind in LAYOUTS if kind in names), None)
