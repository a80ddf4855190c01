"""What a training loop of plain PyTorch does for positions, as the paper does.

The hooks and the optimizer's constructor of :mod:`mmdcls.engine` do the same for
OpenMMLab's runner.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from .base import DCLSConvNd, iter_dcls_layers


def position_param_groups(
    model: nn.Module, lr: float, weight_decay: float = 0.0, lr_mult: float = 5.0
) -> list[dict]:
    """Sort the parameters of a model into groups for an optimizer.

    Paper §3: positions have five times the learning rate of the weights, and no weight
    decay, which would pull them to the centre. ``sigma`` of the interpolations that
    have one is spared weight decay, too. Every parameter is in one group, also those
    that layers share.

    Args:
        model: Any model, with or without DCLS layers.
        lr: The learning rate of all but the positions.
        weight_decay: The weight decay of all but positions and ``sigma``.
        lr_mult: The ratio of the positions' learning rate to ``lr``.

    Returns:
        The groups ``others``, ``positions`` and ``sigma``, each with its ``name``;
        those without parameters are left out.

    Example:
        >>> from mmdcls.layers import DCLSConv2d
        >>> layer = DCLSConv2d(
        ...     4, 4, dilated_kernel_size=17, kernel_count=34, groups=4
        ... )
        >>> groups = position_param_groups(layer, lr=0.001, weight_decay=0.05)
        >>> [(group['name'], group['lr'], group['weight_decay']) for group in groups]
        [('others', 0.001, 0.05), ('positions', 0.005, 0.0)]
    """
    groups: dict[str, dict[str, Any]] = {
        'others': dict(params=[], lr=lr, weight_decay=weight_decay),
        'positions': dict(params=[], lr=lr * lr_mult, weight_decay=0.0),
        'sigma': dict(params=[], lr=lr, weight_decay=0.0),
    }
    kinds = {}
    for layer in iter_dcls_layers(model):
        layer.positions_have_options = True
        for name, parameter in layer.named_parameters(recurse=False):
            if name in groups:
                kinds[parameter] = name
    for parameter in model.parameters():
        groups[kinds.get(parameter, 'others')]['params'].append(parameter)
    return [
        {**group, 'name': name} for name, group in groups.items() if group['params']
    ]


def clamp_positions(model: nn.Module) -> None:
    """Put the positions of all layers of a model back onto their kernels, in place.

    Paper §3, "Positions clamping / overlapping": to be called after every step of the
    optimizer.

    Args:
        model: Any model, with or without DCLS layers.
    """
    for layer in iter_dcls_layers(model):
        layer.clamp_positions()


def keep_position_rates(optimizer: Optimizer, layers: Iterable[DCLSConvNd]) -> None:
    """Have positions keep their ratio to the learning rate of their layer's weight.

    The ratio is that of now. Schedules that multiply learning rates would keep it by
    themselves; one with an ``eta_min`` above 0, or in one cycle, brings all param
    groups to the same rate. So positions are given theirs before each step of
    ``optimizer``. Layers whose weight is not trained are left to the schedule.

    Args:
        optimizer: An optimizer that has positions and weights in param groups apart.
        layers: The DCLS layers. Where positions are shared, the first owner's weight
            counts.
    """
    rates = [group['lr'] for group in optimizer.param_groups]
    group_of = {
        id(param): index
        for index, group in enumerate(optimizer.param_groups)
        for param in group['params']
    }
    # By index: loading a state dict replaces the groups.
    ratios: dict[int, tuple[int, float]] = {}
    for layer in layers:
        positions = group_of.get(id(layer.positions))
        weight = group_of.get(id(layer.weight))
        if positions is not None and weight is not None and rates[weight]:
            ratios.setdefault(positions, (weight, rates[positions] / rates[weight]))

    groups = optimizer.param_groups

    # Outside of any graph: rates change at every step, which a compiled training step
    # would be compiled anew for.
    @torch.compiler.disable
    def set_rates(optimizer, args, kwargs):
        nonlocal groups
        # DeepSpeed's ZeRO shows its optimizer one group at a time.
        if len(optimizer.param_groups) >= len(rates):
            groups = optimizer.param_groups
        for positions, (weight, ratio) in ratios.items():
            groups[positions]['lr'] = ratio * groups[weight]['lr']

    optimizer.register_step_pre_hook(set_rates)
