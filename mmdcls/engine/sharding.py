"""What a sharded model shows of its parameters, and how to see them whole.

FSDP gives each process a flat piece of every parameter, which may be empty, and puts
them together while the module that was wrapped runs. DeepSpeed's ZeRO optimizers keep
the numbers that are trained in a flat copy of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn
from torch.distributed.fsdp import (
    FullStateDictConfig,
    FullyShardedDataParallel,
    StateDictType,
)
from torch.nn import Parameter

from mmdcls.errors import ArgumentError
from mmdcls.layers import DCLSConvNd, named_dcls_layers

WRAP_STAGES = "auto_wrap_policy='mmdcls.wrap_stages'"


def unwrap(model: Any) -> nn.Module:
    """Return the model inside of wrappers for DDP, FSDP, DeepSpeed or TTA."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def is_fsdp(model: Any) -> bool:
    """Tell whether a model is sharded by FSDP."""
    return isinstance(model, FullyShardedDataParallel)


def plain_name(name: str) -> str:
    """Return the name that a parameter or module has in the model before wrapping."""
    return name.replace('_fsdp_wrapped_module.', '').removesuffix(
        '._fsdp_wrapped_module'
    )


def whole_parameters(model: Any, writeback: bool = False) -> AbstractContextManager:
    """Show parameters whole within a context; all processes must enter it.

    Args:
        model: Any model; of one that FSDP does not shard, parameters are whole anyway.
        writeback: Whether to keep what is written to parameters.
    """
    if not is_fsdp(model):
        return nullcontext()
    return FullyShardedDataParallel.summon_full_params(model, writeback=writeback)


def whole_state_dict(model: Any) -> dict[str, Tensor]:
    """Return the state dict of the unwrapped model; all processes must call it."""
    if not is_fsdp(model):
        return unwrap(model).state_dict()
    # Offloading from a CPU leaves tensors of memory that FSDP then frees.
    settings = FullStateDictConfig(offload_to_cpu=torch.cuda.is_available())
    kind = StateDictType.FULL_STATE_DICT
    with FullyShardedDataParallel.state_dict_type(model, kind, settings):
        return model.state_dict()


def distinct_layers(layers: Iterable[DCLSConvNd]) -> list[DCLSConvNd]:
    """Keep one layer of those that share a position tensor, the first."""
    owners: dict[int, DCLSConvNd] = {}
    for layer in layers:
        owners.setdefault(id(layer.positions), layer)
    return list(owners.values())


def layers_by_unit(model: nn.Module) -> dict[nn.Module, list[DCLSConvNd]]:
    """Sort DCLS layers by the modules in whose forward pass their positions are whole.

    Args:
        model: A model; of one that FSDP does not shard, it is the only such module.

    Returns:
        For each the layers whose positions come whole with it, one a position tensor.

    Raises:
        ArgumentError: If FSDP has mixed positions with other parameters, or if layers
            that share a position tensor are wrapped apart.
    """
    units = {
        name: module
        for name, module in model.named_modules()
        if not name or is_fsdp(module)
    }
    found: dict[nn.Module, list[DCLSConvNd]] = {}
    unit_of: dict[int, tuple[str, str]] = {}
    for name, layer in named_dcls_layers(model):
        if not isinstance(layer.positions, Parameter):
            raise ArgumentError(
                f'FSDP: {plain_name(name)}.positions is no parameter of its own, and '
                'cannot have a learning rate of its own; set use_orig_params=True in '
                'strategy.model_wrapper.'
            )
        unit = max((u for u in units if _is_inside(name, u)), key=len)
        first, first_unit = unit_of.setdefault(id(layer.positions), (name, unit))
        if unit != first_unit:
            raise ArgumentError(
                f'FSDP: {plain_name(first)} and {plain_name(name)} share their '
                'positions and are wrapped apart, which FSDP cannot train; set '
                f'{WRAP_STAGES} in strategy.model_wrapper.'
            )
        if first == name:
            found.setdefault(units[unit], []).append(layer)
    return found


def _is_inside(name: str, unit: str) -> bool:
    return not unit or name.startswith(f'{unit}.')


def shard_limits(
    model: nn.Module, limits: Mapping[DCLSConvNd, Tensor]
) -> dict[DCLSConvNd, Tensor]:
    """Cut the limits of positions as FSDP cuts the positions themselves.

    They are passed through FSDP as if they were the positions, so that nothing has to
    be known of how it cuts. All processes must call this, outside of a training step.

    Args:
        model: A model that FSDP shards.
        limits: The largest absolute positions of layers, whole.

    Returns:
        For each layer a tensor of the shape of this process's piece of its positions.
    """
    kept = {layer: layer.positions.detach().clone() for layer in limits}
    with torch.no_grad():
        with whole_parameters(model, writeback=True):
            for layer, limit in limits.items():
                layer.positions.copy_(limit)
        pieces = {layer: layer.positions.detach().clone() for layer in limits}
        for layer, positions in kept.items():
            layer.positions.copy_(positions)
    return pieces


def deepspeed_copies(
    positions: Iterable[tuple[str, Parameter]], optimizer: Any
) -> Iterator[Parameter]:
    """Give the positions of which a DeepSpeed optimizer trains a copy of its own.

    Args:
        positions: Names and position tensors.
        optimizer: ``optim_wrapper.optimizer``.

    Raises:
        ArgumentError: If the copy cannot be reached to clamp it.
    """
    for name, param in positions:
        if hasattr(param, 'ds_id'):
            raise ArgumentError(
                'DeepSpeed: zero_optimization.stage=3 cuts parameters into pieces that '
                f'layers with shared positions ({name}) cannot be built from; use '
                "stage 0, 1 or 2, or strategy.type='mmdcls.FSDPStrategy'."
            )
        if hasattr(param, '_hp_mapping'):
            yield param
        elif not isinstance(optimizer, torch.optim.Optimizer):
            raise ArgumentError(
                f'DeepSpeed: {type(optimizer).__name__} trains a copy of {name}.'
                'positions that cannot be clamped; set zero_optimization.stage to 1 or '
                '2 in strategy.'
            )


def clamp_deepspeed_copy(positions: Parameter, limits: Tensor) -> None:
    """Clamp what a ZeRO optimizer of DeepSpeed trains in the place of ``positions``."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_set_full_fp32_param

    trained = safe_get_full_fp32_param(positions)
    limits = limits.to(trained)
    safe_set_full_fp32_param(positions, trained.clamp(-limits, limits))
