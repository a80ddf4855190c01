"""Check one data set of a config, or tell its classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from mmdcls.errors import ArgumentError
from mmdcls.registry import find_class

from .classification import classes_of_classification, list_classification
from .coco import classes_of_coco, list_coco
from .coco_file import find_missing_keys
from .images import PipelineLoader, Summary, check_sample
from .labels import ClassList
from .report import Problem, Report, Sample
from .segmentation import classes_of_segmentation, list_segmentation
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
    classes: Callable[[Source, int], ClassList | None]


LAYOUTS = {
    'BaseSegDataset': Layout(list_segmentation, classes_of_segmentation),
    'CocoDataset': Layout(list_coco, classes_of_coco),
    'CustomDataset': Layout(list_classification, classes_of_classification),
}
"""Name of the upstream class that a data set derives from, to its layout."""

_OTHERWISE = ('CocoPanopticDataset',)
"""Classes that derive from one of these, and keep their data otherwise."""


def check_dataset(
    key: str,
    config: dict,
    workers: int = 4,
    progress: Callable[[str, int, int], None] = lambda key, done, total: None,
    metrics: Sequence[Mapping] = (),
) -> Report:
    """Check one data set of a config: its layout, then every file of it.

    Images and label maps are read with the loading transforms of its own pipeline, so
    that what is judged is what the model gets, and then decoded to their last pixel.

    Args:
        key: Where the config has it; for the report.
        config: The data set as the config describes it, in the current default scope.
        workers: Threads that decode images.
        progress: Called with (key, images checked, images in all).
        metrics: The metrics that its split is evaluated with, as the config describes
            them.

    Raises:
        ArgumentError: If the data set's class has none of the layouts known here, or if
            it or its pipeline refuses the config's settings.
    """
    source = _build(key, config, metrics)
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


def read_classes(key: str, config: dict, largest_file: int) -> ClassList | None:
    """Give the classes of a data set without a look at its images.

    Args:
        key: Where the config has it; for messages.
        config: The data set as the config describes it, in the current default scope.
        largest_file: In bytes; larger annotation files are not read.

    Returns:
        None where this cannot be told, or where classes mean something else, as in
        detection by free text.
    """
    source = _build_if_possible(key, config)
    if source is None:
        return None
    kind = _find_layout(source.dataset)
    if kind is None:
        return source.told_classes()
    return LAYOUTS[kind].classes(source, largest_file)


def check_annotations(
    key: str, config: dict, metrics: Sequence[Mapping], largest_file: int
) -> list[Problem]:
    """Look for what a training or an evaluation dies of in annotation files.

    Args:
        key: Where the config has the data set; for messages.
        config: The data set as the config describes it, in the current default scope.
        metrics: The metrics that its split is evaluated with.
        largest_file: In bytes; larger annotation files are not read.
    """
    source = _build_if_possible(key, config, metrics)
    if source is None or _find_layout(source.dataset) != 'CocoDataset':
        return []
    return find_missing_keys(source, largest_file=largest_file)


def _build(key: str, config: dict, metrics: Sequence[Mapping] = ()) -> Source:
    """Build the data set without listing its files: it resolves its paths itself."""
    pipeline = config.get('pipeline') or []
    config = {k: v for k, v in config.items() if k not in ('pipeline', 'lazy_init')}
    try:
        dataset = DATASETS.build(dict(config, pipeline=[], lazy_init=True))
    except (AssertionError, TypeError, KeyError, ValueError) as error:
        raise ArgumentError(
            f"{key}: type='{config.get('type')}' cannot be checked: {error}"
        ) from error
    return Source(key, dataset, pipeline, metrics)


def _build_if_possible(
    key: str, config: dict, metrics: Sequence[Mapping] = ()
) -> Source | None:
    """Build it if it is one of mmengine's; building the runner says what is wrong."""
    cls = find_class(DATASETS, config.get('type'))
    if not isinstance(cls, type) or not issubclass(cls, BaseDataset):
        return None
    try:
        return _build(key, config, metrics)
    except ValueError:
        return None


def _find_layout(dataset: object) -> str | None:
    """The name of the class among ``LAYOUTS`` that a data set derives from."""
    names = [cls.__name__ for cls in type(dataset).__mro__]
    if set(names) & set(_OTHERWISE):
        return None
    return next((kind for kind in LAYOUTS if kind in names), None)
