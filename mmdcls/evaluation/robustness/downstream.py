"""Segmentation and detection under corruption: the test set, corrupted on the fly."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from PIL import Image

from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from mmdcls.engine.launch import ConfigError

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
        ConfigError: If it has no test set, no metric or no ``LoadImageFromFile``.
    """

    def __init__(self, cfg: Config) -> None:
        loader = cfg.get('test_dataloader')
        if not loader or not cfg.get('test_evaluator'):
            raise ConfigError('The config has no test_dataloader and test_evaluator.')
        self._dataset = loader.dataset
        self._metrics = cfg.test_evaluator
        self._position = self._find_loading()

    def _find_loading(self) -> int:
        for i, transform in enumerate(self._dataset.get('pipeline') or []):
            if str(transform['type']).endswith('LoadImageFromFile'):
                return i
        raise ConfigError(
            'test_dataloader.dataset.pipeline has no LoadImageFromFile to corrupt the '
            'images after.'
        )

    def is_missing(self, cell: Cell) -> bool:
        """Every cell is there: it is made from the test set."""
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


def list_files(dataset: BaseDataset) -> list[str]:
    """List the images, label images and annotation file that a data set reads."""
    paths = []
    for i in range(len(dataset)):
        sample = dataset.get_data_info(i)
        paths += [
            sample[key] for key in ('img_path', 'seg_map_path') if sample.get(key)
        ]
    annotations = getattr(dataset, 'ann_file', '')
    return [*paths, annotations] if annotations else paths


def check_readable(paths: Iterable[str]) -> None:
    """Decode every image once.

    Raises:
        ValueError: Counts and names those that cannot be decoded.
    """
    paths = [path for path in paths if not path.endswith(('.json', '.txt'))]
    with ThreadPoolExecutor() as pool:
        problems = [problem for problem in pool.map(_decode, paths) if problem]
    if problems:
        raise ValueError(
            f'{len(problems)} of {len(paths)} images cannot be read: '
            f'{", ".join(problems[:10])}{", ..." if len(problems) > 10 else ""}.'
        )


def _decode(path: str) -> str:
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # Pillow raises many kinds, by the file's format.
        return f"'{path}' ({' '.join(str(error).split())})"
    return ''
