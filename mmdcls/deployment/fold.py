"""Fold a trained model's positions and batch norms into plain convolutions.

Folding a DCLS layer constructs its kernel once and for all, so that an ordinary
convolution takes its place; folding a batch norm multiplies its scale into the
convolution before it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdcls.apis.inference import load_trained
from mmdcls.checkpoints.comparison import check_state_dict
from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.converters.reference_models import build_on_meta
from mmdcls.layers import input_channels, iter_dcls_layers
from mmdcls.registry import MODELS

TOLERANCE = 1e-5
_IMAGE_SIZE = 64


@dataclass
class Folded:
    """A folded checkpoint.

    Attributes:
        config: The config that the checkpoint was trained with.
        checkpoint: The checkpoint's file.
        content: The checkpoint to write, with the folded tensors.
        layers: The number of DCLS layers that were folded.
        norms: The number of batch norms that were folded.
        options: The settings that make the config build the folded model, as
            ``--cfg-options`` takes them.
        difference: The largest difference between the features of a random image before
            and after, relative to the largest feature.
    """

    config: str | os.PathLike
    checkpoint: str | os.PathLike
    content: dict
    layers: int
    norms: int
    options: list[str]
    difference: float

    def check(self) -> None:
        """Refuse a folding that changed the features.

        Raises:
            CheckpointError: If they differ by more than 1e-5 of the largest.
        """
        if not self.difference <= TOLERANCE:
            raise CheckpointError(
                f"Folding '{self.checkpoint}' changes its features by "
                f'{self.difference:.1e} of the largest, more than {TOLERANCE:.0e}.'
            )

    def print_summary(self) -> None:
        """Say what was folded, and how to use the result."""
        print(
            f'{self.layers} DCLS layers and {self.norms} batch norms folded; features '
            f'of a random image differ by at most {self.difference:.1e} of the largest.'
        )
        print(f'The result is for {self.config} with')
        print(f'  --cfg-options {" ".join(self.options)}')


def fold(config: str | os.PathLike, checkpoint: str | os.PathLike) -> Folded:
    """Fold what can be folded, and compare the features with those of before.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: The checkpoint's file.

    Returns:
        The folded checkpoint; call :meth:`Folded.check` before its use.

    Raises:
        ConfigError: If :func:`mmdcls.apis.inference.load_trained` raises it.
        CheckpointError: If :func:`mmdcls.apis.inference.load_trained` raises it, or if
            there is nothing to fold.
    """
    cfg, model, source = load_trained(config, checkpoint)
    layers, norms = _count_layers(model), _count_norms(model)
    if not layers:
        raise CheckpointError(f"The model of '{config}' has no DCLS layer to fold.")
    before = _features(model)
    switch_to_deploy(model)
    difference = _difference(before, _features(model))
    options = set_deploy(cfg.model)
    folded = dict(model.state_dict())
    check_state_dict(
        build_on_meta(cfg.model, cfg.get('default_scope')).state_dict(),
        folded,
        source.path,
        f"the model of '{config}' with deploy=True",
    )
    meta = {key: source.meta[key] for key in ('dataset_meta',) if key in source.meta}
    return Folded(
        config=config,
        checkpoint=checkpoint,
        content={'meta': meta, 'state_dict': folded},
        layers=layers,
        norms=norms - _count_norms(model),
        options=options,
        difference=difference,
    )


def switch_to_deploy(model: nn.Module) -> None:
    """Fold, in place, every component of mmdcls that can be folded.

    These are the components whose ``deploy`` is set by :func:`set_deploy`.
    """
    classes = tuple(_deployable_classes().values())
    for module in list(model.modules()):
        if isinstance(module, classes):
            module.switch_to_deploy()  # type: ignore[operator]


def set_deploy(model: ConfigDict, key: str = 'model') -> list[str]:
    """Make a model's config build what :func:`switch_to_deploy` leaves, in place.

    Args:
        model: The model's config, or a part of it.
        key: The dotted key of ``model`` in the whole config.

    Returns:
        The settings that were changed, as ``--cfg-options`` takes them.
    """
    if isinstance(model, (list, tuple)):
        inside = [(f'{key}.{i}', item) for i, item in enumerate(model)]
    elif isinstance(model, dict):
        inside = [(f'{key}.{name}', value) for name, value in model.items()]
    else:
        return []
    options = [option for name, value in inside for option in set_deploy(value, name)]
    if isinstance(model, dict) and model.get('type') in _deployable_classes():
        model['deploy'] = True
        options.append(f'{key}.deploy=True')
    return options


def _deployable_classes() -> dict[str, type]:
    """Return the components that can be folded, by their names in configs."""
    MODELS.import_from_location()
    return {
        f'mmdcls.{name}': component
        for name, component in MODELS.module_dict.items()
        if hasattr(component, 'switch_to_deploy')
    }


def _count_layers(model: nn.Module) -> int:
    return sum(1 for _ in iter_dcls_layers(model))


def _count_norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


@torch.no_grad()
def _features(model: nn.Module) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (1, input_channels(model), _IMAGE_SIZE, _IMAGE_SIZE)
    image = torch.randn(shape, generator=generator)
    features = model.backbone(image)  # type: ignore[operator]
    return [feature for feature in features if feature is not None]


def _difference(before: list[Tensor], after: list[Tensor]) -> float:
    return max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))
        for a, b in zip(after, before, strict=True)
    )
