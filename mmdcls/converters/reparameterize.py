"""Fold a trained model's DCLS layers into plain convolutions, for deployment."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmdcls.engine.checkpoint import CheckpointError
from mmdcls.layers import iter_dcls_layers
from mmdcls.registry import MODELS

from .conversion import compare
from .files import open_checkpoint
from .reference_models import build_on_meta

TOLERANCE = 1e-5
_IMAGE_SIZE = 64


@dataclass
class Reparameterization:
    """A folded checkpoint.

    Attributes:
        content: What to write.
        layers: How many layers were folded.
        options: The settings that make the config build the folded model.
        difference: The largest between the features of a random image before and
            after, relative to the largest feature.
    """

    content: dict
    layers: int
    options: list[str]
    difference: float


def reparameterize(
    config: str | os.PathLike, checkpoint: str | os.PathLike
) -> Reparameterization:
    """Fold every DCLS layer, and compare the features with those of before.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: Its file.

    Raises:
        CheckpointError: If a file cannot be read or they do not fit one another, if
            there is nothing to fold, or if the features differ by more than 1e-5.
    """
    if not Path(config).is_file():
        raise CheckpointError(f"The config '{config}' does not exist.")
    cfg = Config.fromfile(config)
    source = open_checkpoint(checkpoint, prefer_ema=False)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        model = MMENGINE_MODELS.build(copy.deepcopy(cfg.model)).eval()
    _check_fits(source.path, config, model.state_dict(), source.state_dict)
    model.load_state_dict(source.state_dict, strict=True)
    layers = list(iter_dcls_layers(model))
    if not layers:
        raise CheckpointError(f"The model of '{config}' has no DCLS layer to fold.")
    before = _features(model)
    for layer in layers:
        layer.switch_to_deploy()
    difference = _difference(before, _features(model))
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"Folding '{checkpoint}' changes its features by {difference:.1e} of the "
            f'largest, more than {TOLERANCE:.0e}.'
        )
    deployed = copy.deepcopy(cfg.model)
    options = _set_deploy(deployed, 'model')
    expected = build_on_meta(deployed, cfg.default_scope).state_dict()
    folded = dict(model.state_dict())
    _check_fits(source.path, f'{config} with deploy=True', expected, folded)
    meta = {key: source.meta[key] for key in ('dataset_meta',) if key in source.meta}
    return Reparameterization(
        {'meta': meta, 'state_dict': folded}, len(layers), options, difference
    )


def _check_fits(path, config, expected, found) -> None:
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    differences = compare(shapes, found, {name: name for name in found})
    if differences:
        raise CheckpointError(
            f"'{path}' does not fit the model of '{config}': {differences}."
        )


def _set_deploy(cfg, key: str) -> list[str]:
    """Set ``deploy`` wherever a component of mmdcls is named; returns the options."""
    if isinstance(cfg, (list, tuple)):
        inside = [(f'{key}.{i}', item) for i, item in enumerate(cfg)]
    elif isinstance(cfg, (dict, ConfigDict)):
        inside = [(f'{key}.{name}', value) for name, value in cfg.items()]
    else:
        return []
    options = [option for name, value in inside for option in _set_deploy(value, name)]
    if isinstance(cfg, dict) and str(cfg.get('type')).startswith('mmdcls.'):
        MODELS.import_from_location()
        if cfg['type'].removeprefix('mmdcls.') in MODELS.module_dict:
            cfg['deploy'] = True
            options.append(f'{key}.deploy=True')
    return options


@torch.no_grad()
def _features(model: nn.Module) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, _IMAGE_SIZE, _IMAGE_SIZE, generator=generator)
    return [feature for feature in model.backbone(image) if feature is not None]


def _difference(before: list[Tensor], after: list[Tensor]) -> float:
    return max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
        for a, b in zip(after, before, strict=True)
    )
