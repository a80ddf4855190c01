"""Keep the positions of kernel elements inside their kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmdcls.errors import ArgumentError
from mmdcls.layers import DCLSConvNd, position_limits
from mmdcls.registry import HOOKS

from .loops import dcls_layers_of
from .sharding import (
    clamp_deepspeed_copy,
    deepspeed_copies,
    is_fsdp,
    layers_by_unit,
    plain_name,
    shard_limits,
    whole_parameters,
)


@HOOKS.register_module()
class ClampPositionsHook(Hook):
    """Clamp positions to ``[-(size // 2), size // 2]`` after every optimizer step.

    Paper §3, "Positions clamping / overlapping". Runs before the EMA hook, so that
    averages are taken of clamped positions. Where FSDP shards the model, each process
    clamps its piece, and waits for no other.

    Args:
        nan_interval: Look for positions that are NaN every so many iterations; on a GPU
            each look waits for the device. On a CPU every iteration is looked at.
    """

    priority = 'HIGH'

    def __init__(self, nan_interval: int = 50) -> None:
        self.nan_interval = nan_interval

    def before_run(self, runner: Runner) -> None:
        """Look whether the engine can train positions at all, before other hooks.

        Raises:
            ArgumentError: If FSDP or DeepSpeed has cut the model in a way that it
                cannot, or if an EMA hook is to copy a model that is cut.
        """
        if is_fsdp(runner.model):
            layers_by_unit(runner.model)
        if is_fsdp(runner.model) or hasattr(runner.model, 'zero_optimization'):
            for hook in runner.hooks:
                if hasattr(hook, 'ema_cfg'):
                    raise ArgumentError(
                        f'{type(hook).__name__} cannot copy a model that FSDP or '
                        'DeepSpeed shards; leave it out, or leave out `strategy` and '
                        '`runner_type` to train with DDP.'
                    )

    def before_train(self, runner: Runner) -> None:
        """Clamp once at the start: checkpoints may hold positions beyond the kernel.

        If there are any, a warning says how many and how far, since the model's outputs
        change. Also looks whether the positions are trained, and averaged, as they
        should be.

        Raises:
            ArgumentError: If the model has no DCLS layer, if a trainable position
                tensor is in no param group, if an EMA hook averages shared positions
                several times a step, or if DeepSpeed trains positions out of reach.
        """
        layers = dcls_layers_of(self, runner.model)
        check_averages(runner, layers)
        # Shared positions count once.
        self._layers: dict[str, DCLSConvNd] = {}
        owned = set()
        for name, layer in layers.items():
            if id(layer.positions) not in owned:
                owned.add(id(layer.positions))
                self._layers[plain_name(name)] = layer
        optimizer = runner.optim_wrapper.optimizer
        self._copied = {
            id(positions)
            for positions in deepspeed_copies(
                ((n, layer.positions) for n, layer in self._layers.items()), optimizer
            )
        }
        self._check_trained(optimizer)
        self._prepare_limits(runner)
        self._warn_of_rounding(runner)
        self._clamp(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Clamp if this iteration ended with a step of the optimizer.

        Raises:
            ArgumentError: If positions have become NaN.
        """
        # DeepSpeed's wrapper does not tell; to clamp once more changes nothing.
        should_update = getattr(runner.optim_wrapper, 'should_update', None)
        if should_update is None or should_update():
            self._clamp(runner)

    def _check_trained(self, optimizer: Any) -> None:
        optimized = {
            id(param) for group in optimizer.param_groups for param in group['params']
        }
        for name, layer in self._layers.items():
            known = id(layer.positions) in optimized | self._copied
            if layer.positions.requires_grad and not known:
                raise ArgumentError(
                    f'{name}.positions is in no param group of the optimizer; use '
                    "constructor='mmdcls.DCLSOptimWrapperConstructor' in optim_wrapper."
                )

    def _prepare_limits(self, runner: Runner) -> None:
        """Keep the limits of what is not clamped by its layer; warn of positions."""
        limits: dict[DCLSConvNd, Tensor] = {}
        with whole_parameters(runner.model):
            for layer in self._layers.values():
                positions = layer.positions.detach()
                limits[layer] = position_limits(positions, layer.dilated_kernel_size)
            warn_of_positions_beyond(runner, limits)
        self._limits = limits
        self._sharded = is_fsdp(runner.model)
        if self._sharded:
            self._limits = shard_limits(runner.model, limits)

    def _warn_of_rounding(self, runner: Runner) -> None:
        """Say that an engine rounds positions before kernels are built of them."""
        dtypes = {layer.positions.dtype for layer in self._layers.values()}
        precision = getattr(runner.model, 'mixed_precision', None)
        if self._sharded and precision is not None and precision.param_dtype:
            dtypes = {precision.param_dtype}
        if coarse := dtypes & {torch.float16, torch.bfloat16}:
            farthest = max(float(limits.max()) for limits in self._limits.values())
            runner.logger.warning(
                f'Positions are rounded to {coarse.pop()} before kernels are built of '
                f'them, which moves some of up to {farthest:g} pixels; AmpOptimWrapper '
                'does not do so.'
            )

    def _clamp(self, runner: Runner) -> None:
        look = self.every_n_train_iters(runner, self.nan_interval)
        for name, layer in self._layers.items():
            positions = layer.positions
            if (look or not positions.is_cuda) and positions.isnan().any():
                raise ArgumentError(
                    f'{name}.positions became NaN at iteration {runner.iter + 1}: the '
                    'training diverged; lower the learning rate or go on from an '
                    'earlier checkpoint.'
                )
            limits = self._limits[layer]
            if self._sharded:
                with torch.no_grad():
                    positions.copy_(positions.clamp(-limits, limits))
                continue
            layer.clamp_positions()
            if id(positions) in self._copied:
                clamp_deepspeed_copy(positions, limits)


def warn_of_positions_beyond(
    runner: Runner, limits: Mapping[DCLSConvNd, Tensor]
) -> None:
    """Say how many positions lie beyond their kernels, and how far.

    Args:
        runner: Gives the logger.
        limits: The largest absolute positions of layers that have one tensor each.
    """
    excess = [
        (layer.positions.detach().abs() - limit).flatten()
        for layer, limit in limits.items()
    ]
    beyond = sum(int((distances > 0).sum()) for distances in excess)
    if beyond:
        total = sum(distances.numel() for distances in excess)
        farthest = max(float(distances.max()) for distances in excess)
        runner.logger.warning(
            f'{beyond} of {total} position coordinates lie beyond their kernels at '
            f'the start, by up to {farthest:.2g} pixels; they are clamped to them, '
            'which changes what the model computes.'
        )


def check_averages(runner: Runner, layers: Mapping[str, DCLSConvNd]) -> None:
    """Refuse to average a tensor that several layers share once for each of them.

    mmengine's averaged models go through the state dict if ``update_buffers`` is set,
    where a shared tensor stands under several names.

    Args:
        runner: The runner whose hooks are looked at.
        layers: The model's DCLS layers by name.

    Raises:
        ArgumentError: If a hook does so.
    """
    tensors = {id(layer.positions) for layer in layers.values()}
    for hook in runner.hooks:
        average = getattr(hook, 'ema_model', None)
        averaged = getattr(average, 'avg_parameters', {}).values()
        places = [tensor.data_ptr() for tensor in averaged if tensor.numel()]
        if len(tensors) < len(layers) and len(set(places)) < len(places):
            raise ArgumentError(
                f'{type(hook).__name__}: update_buffers=True averages positions that '
                f'{len(layers)} layers share as {len(tensors)} tensors once for each '
                'layer in every step, so that they follow too fast; set '
                "ema_type='mmdcls.ExponentialMovingAverage', or leave update_buffers "
                'at False, with which buffers are copied.'
            )
