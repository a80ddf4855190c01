"""Segmentation and detection under corruption: the test set, corrupted on the fly."""

from __future__ import annotations

import copy

from mmengine.config import Config

from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from mmdcls.datasets.loading import find_loading
from mmdcls.errors import ConfigError

from .cells import Cell

BENCHMARKS = ('clean', 'c')
CORRUPTIONS_OF = {'c': CORRUPTIONS, 'c_extra': EXTRA_CORRUPTIONS}


class Downstream:
    """Data sets and metrics of a segmentor's or detector's cells.

    The config's own test set and metrics, with :class:`mmdcls.datasets.Corrupt` right
    after the image is loaded (as Michaelis et al. 2019 corrupt COCO).

    Args:
        cfg: An mmseg or mmdet config.

    Raises:
        ConfigError: If it has no test set, no metric or no loading transform.
    """

    outputs = None
    """As of :class:`.classification.Classification`; the data set names the classes."""

    def __init__(self, cfg: Config) -> None:
        loader = cfg.get('test_dataloader')
        if not loader or not cfg.get('test_evaluator'):
            raise ConfigError('The config has no test_dataloader and test_evaluator.')
        self._dataset = loader.dataset
        self._metrics = cfg.test_evaluator
        self._position = self._find_loading()

    def _find_loading(self) -> int:
        place = find_loading(self._dataset.get('pipeline') or [])
        if place is not None:
            return place
        raise ConfigError(
            'test_dataloader.dataset.pipeline has no transform such as '
            'LoadImageFromFile to corrupt the images after.'
        )

    def loading(self) -> dict:
        """Give the test set's loading transform as a config."""
        return dict(self._dataset.pipeline[self._position])

    def is_missing(self, cell: Cell) -> bool:
        """Return False for every cell: it is made from the test set."""
        return False

    def dataset(self, cell: Cell) -> dict:
        """Give a cell's data set as a config."""
        dataset = copy.deepcopy(self._dataset)
        if cell.corruption:
            corrupt = dict(
                type='mmdcls.Corrupt',
                corruption=cell.corruption,
                severity=cell.severity,
            )
            dataset.pipeline.insert(self._position + 1, corrupt)
        return dataset

    def metrics(self) -> list[dict]:
        """Give the config's metrics."""
        metrics = copy.deepcopy(self._metrics)
        return list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
