"""Keep the positions of kernel elements inside their kernels."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdcls.layers.traversal import named_dcls_layers
from mmdcls.registry import HOOKS


@HOOKS.register_module()
class ClampPositionsHook(Hook):
    """Clamp positions to ``[-(size // 2), size // 2]`` after every optimizer step.

    Paper §3, "Positions clamping / overlapping". Runs before the EMA hook, so that
    averages are taken of clamped positions.
    """

    priority = 'HIGH'

    def before_train(self, runner: Runner) -> None:
        """Clamp once at the start (checkpoints may hold positions beyond the kernel).

        Raises:
            ValueError: If a trainable position tensor is in no param group.
        """
        self._layers = dict(named_dcls_layers(runner.model))
        optimized = {
            id(param)
            for group in runner.optim_wrapper.optimizer.param_groups
            for param in group['params']
        }
        for name, layer in self._layers.items():
            if layer.positions.requires_grad and id(layer.positions) not in optimized:
                raise ValueError(
                    f'{name}.positions is in no param group of the optimizer; use '
                    "constructor='mmdcls.DCLSOptimWrapperConstructor' in optim_wrapper."
                )
        self._clamp()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Clamp if this iteration ended with a step of the optimizer."""
        if runner.optim_wrapper.should_update():
            self._clamp()

    def _clamp(self) -> None:
        for layer in self._layers.values():
            layer.clamp_positions()
