"""Parameters and FLOPs, counted as the paper's tables count them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdcls.configs import building_from
from mmdcls.errors import ArgumentError
from mmdcls.layers import convert_to_plain, input_channels

# Height and width the papers of this field count each task at (Tables 1 to 4).
DEFAULT_SHAPES = {'mmpretrain': (224, 224), 'mmseg': (512, 2048), 'mmdet': (800, 1280)}

# As mmdet 2's dummy forward pass, which the printed detection FLOPs come from.
PROPOSALS, MASK_PROPOSALS = 1000, 100


@dataclass(frozen=True)
class Complexity:
    """What a model costs.

    Attributes:
        parameters: Number of parameters; shared ones count once, positions included.
        flops: Multiply-accumulate operations of one image, in convolutions and matrix
            products; what the papers of this field print as FLOPs.
        shape: Height and width of the image.
        channels: The number of channels of the image, which is that of the model.
    """

    parameters: int
    flops: int
    shape: tuple[int, int]
    channels: int

    def as_dict(self) -> dict:
        """Return the attributes by name."""
        return asdict(self)


def complexity_of_config(
    cfg: Config, shape: tuple[int, int] | None = None
) -> Complexity:
    """Count a config's model, without its weights or any data.

    Args:
        cfg: A config of mmpretrain, mmseg or mmdet.
        shape: Height and width; defaults to those of the paper's table for the task.

    Raises:
        ArgumentError: If the config's task has no default shape and none is given.
    """
    scope = cfg.get('default_scope')
    if shape is None and scope not in DEFAULT_SHAPES:
        raise ArgumentError(
            f"default_scope='{scope}' has no default shape; these have: "
            f'{", ".join(DEFAULT_SHAPES)}.'
        )
    height, width = shape or DEFAULT_SHAPES[scope]
    init_default_scope(scope)
    with building_from(cfg):
        model = MODELS.build(cfg.model)
    parameters = sum(param.numel() for param in model.parameters())
    flops = count_flops(model, (height, width))
    return Complexity(parameters, flops, (height, width), input_channels(model))


def count_flops(model: nn.Module, shape: tuple[int, int]) -> int:
    """Count the multiply-accumulate operations of one image.

    DCLS layers count as the dense convolutions they run as, whatever backend runs them;
    the construction of their kernels, once an inference at most, does not count.
    Detectors with a RoI head count 1000 proposals and 100 masks. Runs on the meta
    device: nothing is computed.

    Args:
        model: A classifier, segmenter or two-stage detector, or any other module that
            takes an image.
        shape: Height and width of the image.
    """
    # Without gradients: the counter hooks into those of what a layer is called with.
    model = convert_to_plain(copy.deepcopy(model).to('meta')).requires_grad_(False)
    # Not chained: mmpretrain's backbones return nothing here.
    model.eval()
    image = torch.empty(1, input_channels(model), *shape, device='meta')
    if hasattr(model, 'roi_head'):
        return _count(lambda: run_two_stage(model, image))
    if hasattr(model, 'data_preprocessor'):
        return _count(lambda: model(image, mode='tensor'))
    return _count(lambda: model(image))


def _count(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    # The counter takes a multiply-accumulate for two operations.
    return counter.get_total_flops() // 2


def run_two_stage(model: BaseModel, images: torch.Tensor) -> None:
    """Run a two-stage detector's networks on as many proposals as mmdet 2 counts.

    What the RPN proposes and what is detected differs from model to model; the numbers
    of proposals (1000 an image for boxes, 100 for masks) do not. Their features are
    zeros.

    Args:
        model: A detector of mmdet with an ``rpn_head`` and a ``roi_head``.
        images: ``(N, channels, H, W)``.
    """
    model.rpn_head(model.extract_feat(images))
    head = model.roi_head
    for kind, proposals in (('bbox', PROPOSALS), ('mask', MASK_PROPOSALS)):
        extractor = getattr(head, f'{kind}_roi_extractor', None)
        if extractor is None:
            continue
        extractors = extractor if isinstance(extractor, nn.ModuleList) else [extractor]
        stages = getattr(head, f'{kind}_head')
        stages = stages if isinstance(stages, nn.ModuleList) else [stages]
        for i, stage in enumerate(stages):
            own: Any = extractors[min(i, len(extractors) - 1)]
            size = own.roi_layers[0].output_size
            features = len(images) * proposals, own.out_channels, *size
            stage(images.new_zeros(features))
