"""Keep the positions of kernel elements inside their kernels."""

from __future__ import annotations

from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdcls.errors import ArgumentError
from mmdcls.layers import DCLSConvNd, position_limits
from mmdcls.registry import HOOKS

from .loops import dcls_layers_of


@HOOKS.register_module()
class ClampPositionsHook(Hook):
    """Clamp positions to ``[-(size // 2), size // 2]`` after every optimizer step.

    Paper §3, "Positions clamping / overlapping". Runs before the EMA hook, so that
    averages are taken of clamped positions.

    Args:
        nan_interval: Look for positions that are NaN every so many iterations; on a GPU
            each look waits for the device. On a CPU every iteration is looked at.
    """

    priority = 'HIGH'

    def __init__(self, nan_interval: int = 50) -> None:
        self.nan_interval = nan_interval

    def before_train(self, runner: Runner) -> None:
        """Clamp once at the start: checkpoints may hold positions beyond the kernel.

        If there are any, a warning says how many and how far, since the model's outputs
        change. Also looks whether the positions are trained, and averaged, as they
        should be.

        Raises:
            ArgumentError: If the model has no DCLS layer, if a trainable position
                tensor is in no param group, or if an EMA hook averages shared positions
                several times a step.
        """
        self._layers = dcls_layers_of(self, runner.model)
        check_averages(runner, self._layers)
        optimized = {
            id(param)
            for group in runner.optim_wrapper.optimizer.param_groups
            for param in group['params']
        }
        for name, layer in self._layers.items():
            if layer.positions.requires_grad and id(layer.positions) not in optimized:
                raise ArgumentError(
                    f'{name}.positions is in no param group of the optimizer; use '
                    "constructor='mmdcls.DCLSOptimWrapperConstructor' in optim_wrapper."
                )
        self._warn_of_positions_beyond(runner)
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
        if runner.optim_wrapper.should_update():
            self._clamp(runner)

    def _warn_of_positions_beyond(self, runner: Runner) -> None:
        # Shared positions count once.
        layers = {id(layer.positions): layer for layer in self._layers.values()}
        excess = []
        for layer in layers.values():
            positions = layer.positions.detach()
            limits = position_limits(positions, layer.dilated_kernel_size)
            excess.append((positions.abs() - limits).flatten())
        beyond = sum(int((distances > 0).sum()) for distances in excess)
        if beyond:
            total = sum(distances.numel() for distances in excess)
            farthest = max(float(distances.max()) for distances in excess)
            runner.logger.warning(
                f'{beyond} of {total} position coordinates lie beyond their kernels at '
                f'the start, by up to {farthest:.2g} pixels; they are clamped to them, '
                'which changes what the model computes.'
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
            layer.clamp_positions()


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
        if getattr(average, 'update_buffers', False) and len(tensors) < len(layers):
            raise ArgumentError(
                f'{type(hook).__name__}: update_buffers=True averages positions that '
                f'{len(layers)} layers share as {len(tensors)} tensors once for each '
                'layer in every step, so that they follow too fast; leave it at False, '
                'with which buffers are copied.'
            )
