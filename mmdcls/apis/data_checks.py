"""What can be told about data and model before any image is decoded."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mmdcls.datasets.check import (
    Problem,
    check_annotations,
    compare_classes,
    compare_heads,
    read_classes,
)
from mmdcls.errors import ConfigError

from .data_paths import iter_datasets, iter_metrics

LARGEST_FILE = 64 * 2**20
"""In bytes. Larger annotation files take seconds to read, so that a training leaves
them to tools/check_dataset.py."""


def find_mismatches(
    cfg: Config, splits: Sequence[str], largest_file: int = LARGEST_FILE
) -> list[Problem]:
    """Compare the classes of all data sets, and with those of the model's heads.

    Args:
        cfg: The config.
        splits: Whose data sets: any of ``'train'``, ``'val'`` and ``'test'``.
        largest_file: Annotation files of more bytes are not read.
    """
    scope = cfg.get('default_scope', 'mmengine')
    with DefaultScope.overwrite_default_scope(scope):
        lists = [
            classes
            for split in splits
            for key, dataset in iter_datasets(cfg, split)
            if (classes := read_classes(key, dataset, largest_file))
        ]
        heads = compare_heads(cfg.model, lists, exact=scope == 'mmdet')
    return [*compare_classes(lists), *heads]


def check_data_against_model(cfg: Config, splits: Sequence[str]) -> None:
    """Stop a training whose data cannot fit its model, before any work.

    Takes moments: class folders, categories, classes, heads and the keys of
    annotations, but no image. What may be meant is logged as a warning.

    Args:
        cfg: The config.
        splits: Whose data are used.

    Raises:
        ConfigError: Names the first thing that is certainly wrong.
    """
    problems = find_mismatches(cfg, splits)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for split in splits:
            metrics = [metric for _, metric in iter_metrics(cfg, split)]
            for key, dataset in iter_datasets(cfg, split):
                problems += check_annotations(key, dataset, metrics, LARGEST_FILE)
    for problem in problems:
        if not problem.may_be_meant:
            raise ConfigError(
                f'{problem}; tools/check_dataset.py looks at the data in full.'
            )
        print_log(f'{problem}.', logger='current', level=logging.WARNING)
