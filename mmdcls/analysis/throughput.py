"""Measure images per second of two configs, timed in turns.

The two that are compared, model and inputs, are called the contenders.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import nn

from mmdcls.configs import building_from, scope_of
from mmdcls.errors import ArgumentError
from mmdcls.layers import input_channels, iter_dcls_layers
from mmdcls.layers.repulsive_loss import repulsive_loss

from .complexity import run_two_stage

# Height and width that the paper times each task at (Tables 1 to 4).
DEFAULT_SHAPES = {'mmpretrain': (224, 224), 'mmseg': (512, 512), 'mmdet': (800, 1280)}
MODES = ('inference', 'training')


@dataclass(frozen=True)
class Settings:
    """How to run the models.

    Attributes:
        batch_size: Images in a batch.
        shape: Height and width of the images; None stands for the task's default.
        device: ``'cpu'`` or ``'cuda'``.
        amp: Automatic mixed precision.
        amp_dtype: Its data type; None stands for float16 on a GPU and bfloat16 on a
            CPU.
        channels_last: Memory format of the images and the weights.
        compile: Whether to run through ``torch.compile``.
        compile_backend: What compiles, as in ``torch.compile``.
    """

    batch_size: int = 8
    shape: tuple[int, int] | None = None
    device: str = 'cpu'
    amp: bool = False
    amp_dtype: torch.dtype | None = None
    channels_last: bool = False
    compile: bool = False
    compile_backend: str = 'inductor'


@dataclass(frozen=True)
class Comparison:
    """Images per second of two contenders, one value a round.

    Attributes:
        mode: One of :data:`MODES`.
        first: The rates of the first contender, one a round.
        second: The rates of the second one, in the same rounds.
    """

    mode: str
    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def medians(self) -> tuple[float, float]:
        """Return the median images per second of both."""
        return statistics.median(self.first), statistics.median(self.second)

    @property
    def ratio(self) -> float:
        """Return the second one's median over the first one's."""
        return self.medians[1] / self.medians[0]

    @property
    def quartiles(self) -> tuple[float, float]:
        """Return the first and third quartile of the rounds' own ratios."""
        pairs = zip(self.first, self.second, strict=True)
        ratios = [second / first for first, second in pairs]
        if len(ratios) == 1:
            return ratios[0], ratios[0]
        low, _, high = statistics.quantiles(ratios, n=4, method='inclusive')
        return low, high


def compare(
    first: Callable[[], object],
    second: Callable[[], object],
    mode: str,
    settings: Settings,
    rounds: int = 11,
    iterations: int = 3,
    warm_up: int = 2,
) -> Comparison:
    """Time two functions in turns, so that a busy machine slows both.

    Args:
        first: Runs one batch of the first contender.
        second: Runs one batch of the second one.
        mode: A name for the result.
        settings: The settings of both contenders.
        rounds: The number of times that each gets its turn; the order alternates.
        iterations: Batches in a turn.
        warm_up: Batches of each that are not timed.

    Raises:
        ArgumentError: If ``rounds`` or ``iterations`` is below 1.
    """
    if rounds < 1 or iterations < 1:
        raise ArgumentError(
            f'rounds={rounds} and iterations={iterations} must be at least 1.'
        )
    contenders = (first, second)
    for run in contenders:
        for _ in range(warm_up):
            run()
    rates: tuple[list, list] = ([], [])
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            _wait(settings)
            start = time.perf_counter()
            for _ in range(iterations):
                contenders[which]()
            _wait(settings)
            seconds = time.perf_counter() - start
            rates[which].append(iterations * settings.batch_size / seconds)
    return Comparison(mode, tuple(rates[0]), tuple(rates[1]))


def _wait(settings: Settings) -> None:
    if settings.device == 'cuda':
        torch.cuda.synchronize()


class Contender:
    """A config's model with random weights, random images and random targets.

    Inference is the model's forward pass up to its heads' outputs, without
    post-processing; of a two-stage detector those that
    :func:`mmdcls.analysis.complexity.run_two_stage` runs. Training is a step as the
    config trains: loss, the repulsive loss where the config has it, gradients, the
    config's optimizer, clamping of positions. Loading, augmentation and the average of
    weights are left out.

    Args:
        cfg: A config of mmpretrain, mmseg or mmdet.
        settings: The settings of how the model is run.

    Raises:
        ArgumentError: If the batch size is below 1.
        ConfigError: If the config's task is unknown.
    """

    def __init__(self, cfg: Config, settings: Settings) -> None:
        self.scope = scope_of(cfg)
        self.cfg = cfg
        init_default_scope(self.scope)
        with building_from(cfg):
            model = MODELS.build(cfg.model)
        self.model = revert_sync_batchnorm(model)
        self._set(settings)

    def with_settings(self, settings: Settings) -> Contender:
        """Return this model under other settings; the two are not to be mixed.

        Raises:
            ArgumentError: If the batch size is below 1.
        """
        other = copy.copy(self)
        other._set(settings)
        return other

    def _set(self, settings):
        if settings.batch_size < 1:
            raise ArgumentError(f'batch_size={settings.batch_size} must be at least 1.')
        self.settings = settings
        self.shape = settings.shape or DEFAULT_SHAPES[self.scope]
        memory_format = (
            torch.channels_last if settings.channels_last else torch.contiguous_format
        )
        self.model.to(settings.device, memory_format=memory_format)
        self._forward, self._run_two_stage = self.model.forward, run_two_stage
        if settings.compile:
            backend = settings.compile_backend
            self._forward = torch.compile(self._forward, backend=backend)
            self._run_two_stage = torch.compile(self._run_two_stage, backend=backend)
        channels = input_channels(self.model)
        self.images = torch.randn(settings.batch_size, channels, *self.shape).to(
            settings.device, memory_format=memory_format
        )
        make_samples = {
            'mmpretrain': classification_samples,
            'mmseg': segmentation_samples,
            'mmdet': detection_samples,
        }
        self.samples = [
            sample.to(settings.device)
            for sample in make_samples[self.scope](
                self.model, settings.batch_size, self.shape
            )
        ]

    def prepare(self, mode: str) -> Callable[[], object]:
        """Set the model's mode and return a function that runs one batch.

        Args:
            mode: One of :data:`MODES`.

        Raises:
            ArgumentError: If the config has no optimizer to train with.
        """
        if mode == 'inference':
            self.model.eval()
            return self._infer
        self.model.train()
        self._prepare_training()
        return self._train

    def autocast(self) -> torch.autocast:
        """Return a context of the precision that the settings ask for."""
        dtype = self.settings.amp_dtype or (
            torch.float16 if self.settings.device == 'cuda' else torch.bfloat16
        )
        return torch.autocast(self.settings.device, dtype, enabled=self.settings.amp)

    @torch.no_grad()
    def _infer(self) -> object:
        with self.autocast():
            if hasattr(self.model, 'roi_head'):
                return self._run_two_stage(self.model, self.images)
            return self._forward(self.images, self.samples, mode='tensor')

    def _prepare_training(self) -> None:
        wrapper = self.cfg.get('optim_wrapper')
        if wrapper is None:
            raise ArgumentError('The config has no optim_wrapper to train with.')
        options = {
            key: wrapper[key]
            for key in ('optimizer', 'constructor', 'paramwise_cfg')
            if wrapper.get(key) is not None
        }
        scaled = (
            self.settings.amp
            and self.settings.device == 'cuda'
            and self.settings.amp_dtype in (None, torch.float16)
        )
        options['type'] = 'AmpOptimWrapper' if scaled else 'OptimWrapper'
        init_default_scope(self.scope)
        self._optim_wrapper = build_optim_wrapper(self.model, options)
        hooks = {hook['type']: hook for hook in self.cfg.get('custom_hooks') or []}
        repulsion = hooks.get('mmdcls.RepulsiveLossHook')
        self._repulsion = repulsion and repulsion.get('weight', 1.0)

    def _train(self) -> None:
        with self.autocast(), self._optim_wrapper.optim_context(self.model):
            losses = self._forward(self.images, self.samples, mode='loss')
        loss, _ = self.model.parse_losses(losses)
        if self._repulsion:
            loss = loss + self._repulsion * repulsive_loss(self.model)
        self._optim_wrapper.update_params(loss)
        for layer in iter_dcls_layers(self.model):
            layer.clamp_positions()


def classification_samples(
    model: BaseModel, count: int, shape: tuple[int, int]
) -> Sequence:
    """Make random soft labels, as Mixup gives them."""
    from mmpretrain.structures import DataSample

    classes = model.head.num_classes
    scores = torch.rand(count, classes).softmax(-1)
    return [
        DataSample().set_gt_label(int(score.argmax())).set_gt_score(score)
        for score in scores
    ]


def segmentation_samples(
    model: BaseModel, count: int, shape: tuple[int, int]
) -> Sequence:
    """Make samples with a random class at every pixel."""
    from mmseg.structures import SegDataSample

    classes = model.decode_head.num_classes
    return [
        SegDataSample(
            gt_sem_seg=PixelData(data=torch.randint(classes, (1, *shape))),
            metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape),
        )
        for _ in range(count)
    ]


def detection_samples(
    model: BaseModel, count: int, shape: tuple[int, int], objects: int = 10
) -> Sequence:
    """Make samples with random boxes of random classes, and the masks of these boxes.

    Args:
        model: A two-stage detector.
        count: Number of images.
        shape: Their height and width.
        objects: Number of boxes in each.
    """
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    heads = model.roi_head.bbox_head
    head: Any = heads[0] if isinstance(heads, nn.ModuleList) else heads
    metainfo: Mapping = dict(
        img_shape=shape,
        ori_shape=shape,
        pad_shape=shape,
        batch_input_shape=shape,
        scale_factor=(1.0, 1.0),
    )
    height, width = shape
    samples = []
    for _ in range(count):
        # Corners in the first half, and sides of an eighth to a half of the image.
        corner, side = (
            torch.rand(objects, 2) / 2,
            torch.rand(objects, 2) * 0.375 + 0.125,
        )
        boxes = torch.cat([corner, corner + side], 1)
        boxes = (boxes * torch.tensor([width, height] * 2)).round()
        masks = np.zeros((objects, height, width), np.uint8)
        for mask, (left, top, right, bottom) in zip(
            masks, boxes.int().tolist(), strict=True
        ):
            mask[top:bottom, left:right] = 1
        instances = InstanceData(
            bboxes=boxes,
            labels=torch.randint(head.num_classes, (objects,)),
            masks=BitmapMasks(masks, height, width),
        )
        sample = DetDataSample(metainfo=metainfo, gt_instances=instances)
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        samples.append(sample)
    return samples
