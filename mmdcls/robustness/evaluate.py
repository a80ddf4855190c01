"""Evaluate a model on cells: combinations of benchmark, corruption and severity."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from mmengine.runner import Runner, autocast

from mmdcls.compat import autocast_dtype
from mmdcls.datasets.corruptions import corruptions_version
from mmdcls.datasets.loading import check_readable, list_files
from mmdcls.errors import ConfigError, MmdclsError
from mmdcls.layers import input_channels
from mmdcls.progress import progress_bars
from mmdcls.registry import TRANSFORMS

from .cells import Cell, CellStore, ImageFiles, fingerprint
from .classification import Classification
from .downstream import Downstream


class RobustnessError(MmdclsError, ValueError):
    """A cell that has no score."""


class CellRunner:
    """Evaluates cells, or takes them from disk where they are finished.

    Args:
        model: The model, in evaluation mode.
        cfg: Gives the data loader's settings.
        task: Gives the data set and metrics of a cell.
        store: The store of finished cells.
        key: Fingerprints of checkpoint and config.
        batch_size: The batch size, in place of the config's.
        amp: Whether to evaluate in mixed precision.
    """

    def __init__(
        self,
        model: BaseModel,
        cfg: Config,
        task: Classification | Downstream,
        store: CellStore,
        key: dict,
        batch_size: int | None = None,
        amp: bool = False,
    ) -> None:
        self.model = model
        self.cfg = cfg
        self.task = task
        self.store = store
        self.key = key
        self.batch_size = batch_size
        self.amp = amp
        self._images: ImageFiles | None = None
        self._readable: set[str] = set()

    def run(self, cells: Sequence[Cell]) -> dict[Cell, dict]:
        """Evaluate cells in order; every process gets to know every result."""
        results = {}
        with _progress(len(cells)) as advance:
            for cell in cells:
                results[cell] = self._finish(cell)
                advance(cell)
        return results

    def _finish(self, cell: Cell) -> dict:
        config = self.task.dataset(cell)
        dataset = DATASETS.build(copy.deepcopy(config))
        dataset.full_init()
        key = {**self.key, 'protocol': self._fingerprint_protocol(config)}
        kept: list[dict | None] = [None]
        if is_main_process():
            images = self._image_files(dataset)
            kept = [self.store.load(cell, key, images)]
        broadcast_object_list(kept)
        if kept[0] is not None:
            return kept[0]
        self._check_channels(dataset)
        if is_main_process():
            self._check_readable(images)
            # What is evaluated below must be what the fingerprint was taken of.
            images.content()
            before = images.state()
        evaluator = Evaluator(self.task.metrics())
        evaluator.dataset_meta = dataset.metainfo
        result = [self._evaluate(dataset, evaluator)]
        if is_main_process():
            if images.state() != before:
                raise RobustnessError(
                    f"Files below '{images.root}' changed while {cell} was evaluated; "
                    'run again.'
                )
            result = [_read_result(evaluator, result[0], images.root, cell)]
            if empty := getattr(dataset, 'empty_classes', None):
                result[0]['empty_classes'] = len(empty)
            self.store.save(cell, key, images, result[0])
        broadcast_object_list(result)
        return result[0]

    def _evaluate(self, dataset, evaluator: Evaluator) -> dict:
        loader = self.cfg.get('test_dataloader') or self.cfg.val_dataloader
        settings = {
            name: copy.deepcopy(loader[name])
            for name in ('num_workers', 'collate_fn', 'pin_memory')
            if name in loader
        }
        dataloader = Runner.build_dataloader(
            dict(
                batch_size=self.batch_size or loader.get('batch_size', 1),
                dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False),
                **settings,
            )
        )
        with torch.no_grad(), autocast(enabled=self.amp):
            for batch in dataloader:
                outputs = self.model.test_step(batch)
                evaluator.process(data_samples=outputs, data_batch=batch)
        return evaluator.evaluate(len(dataset))

    def _amp_dtype(self) -> torch.dtype | None:
        with autocast(enabled=self.amp):
            return autocast_dtype(get_device())

    def _fingerprint_protocol(self, config: dict) -> str:
        """Digest all that a cell's numbers depend on besides images and weights."""
        pipeline = config.get('pipeline') or []
        made_here = any(step['type'] == 'mmdcls.Corrupt' for step in pipeline)
        return fingerprint(
            dict(
                dataset=config['type'],
                pipeline=pipeline,
                classes=config.get('wordnet_ids'),
                amp=str(self._amp_dtype()) if self.amp else None,
                corruptions=corruptions_version() if made_here else None,
            )
        )

    def _image_files(self, dataset) -> ImageFiles:
        """Return the files of a data set; the same object while these are the same."""
        images = ImageFiles(list_files(dataset))
        if self._images is None or self._images.paths != images.paths:
            self._images = images
        return self._images

    def _check_channels(self, dataset) -> None:
        """Try one image: it must reach a classifier with the channels that it takes."""
        if isinstance(self.task, Downstream):
            return
        found, wanted = len(dataset[0]['inputs']), input_channels(self.model)
        if found != wanted:
            path = dataset.get_data_info(0)['img_path']
            raise ConfigError(
                f"The config's test pipeline loads '{path}' with {found} channels, and "
                f'the model takes {wanted}.'
            )

    def _check_readable(self, images: ImageFiles) -> None:
        """Refuse unreadable images: detectors and segmentors leave none out."""
        if isinstance(self.task, Downstream):
            content = images.content()
            if content not in self._readable:
                check_readable(images.paths, TRANSFORMS.build(self.task.loading()))
                self._readable.add(content)


def _read_result(evaluator: Evaluator, metrics: dict, root: str, cell: Cell) -> dict:
    """Keep a cell's scores and unreadable images, as JSON can hold them."""
    result: dict[str, Any] = {}
    for name, value in metrics.items():
        value = value.item() if hasattr(value, 'item') else value
        if isinstance(value, (int, float)):
            result[name.removeprefix('accuracy/')] = value
    unreadable = getattr(evaluator.metrics[0], 'unreadable_images', None)
    if unreadable is not None:
        result['unreadable'] = [
            [os.path.relpath(path, root), reason.replace(root, '')]
            for path, reason in unreadable
        ]
    scores = [value for value in result.values() if isinstance(value, float)]
    if not result and cell.corruption:
        return result  # mmdet reports nothing where nothing is detected.
    if not scores or not all(math.isfinite(score) for score in scores):
        raise RobustnessError(f'{cell} has no finite score ({result}).')
    return result


@contextmanager
def _progress(total: int) -> Iterator:
    description = '{task.description:32}'
    with progress_bars(description, disable=not is_main_process()) as bar:
        task = bar.add_task('cells', total=total)
        yield lambda cell: bar.update(task, advance=1, description=str(cell))
