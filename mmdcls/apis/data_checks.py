"""Compare data sets with the model before any image is decoded."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mmdcls.datasets.check import (
    Problem,
    Source,
    check_annotations,
    compare_classes,
    compare_heads,
    open_sources,
    read_classes,
)
from mmdcls.errors import ConfigError

LARGEST_FILE = 64 * 2**20
"""Size, in bytes, of the largest annotation file that a training reads at its start.

Larger ones take seconds, and are left to tools/check_dataset.py."""


def find_mismatches(cfg: Config, sources: Sequence[Source]) -> list[Problem]:
    """Compare the classes of data sets with each other and with the model's heads.

    Args:
        cfg: The config with the model.
        sources: The config's data sets, as :func:`mmdcls.datasets.check.open_sources`
            gives them.
    """
    lists = [classes for source in sources if (classes := read_classes(source))]
    scope = cfg.get('default_scope', 'mmengine')
    with DefaultScope.overwrite_default_scope(scope):
        heads = compare_heads(cfg.model, lists, exact=scope == 'mmdet')
    return [*compare_classes(lists), *heads]


def check_data_against_model(cfg: Config, splits: Sequence[str]) -> None:
    """Stop a training whose data cannot fit its model, before any work.

    This takes moments: it compares class folders, categories, classes, heads and the
    keys of annotations, and opens no image. What may be meant is logged as a warning.

    Args:
        cfg: The config of the training.
        splits: The splits that are used, of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        ConfigError: If something is certainly wrong; the sentence names the first such
            thing.
    """
    sources = open_sources(cfg, splits, LARGEST_FILE, skip_unbuildable=True)
    problems = find_mismatches(cfg, sources)
    for source in sources:
        problems += check_annotations(source)
    for problem in problems:
        if not problem.may_be_meant:
            raise ConfigError(
                f'{problem}; tools/check_dataset.py looks at the data in full.'
            )
        print_log(f'{problem}.', logger='current', level=logging.WARNING)
