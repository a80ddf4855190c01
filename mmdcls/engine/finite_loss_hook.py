"""Stop a training that has diverged, while its last good checkpoint is there.

mmengine goes on with a loss that is NaN to the end of the schedule.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmdcls.errors import MmdclsError
from mmdcls.registry import HOOKS


class DivergedError(MmdclsError, RuntimeError):
    """A training whose weights are no numbers any more."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """End a training whose loss and weights are NaN or infinite.

    A loss that is not finite while the weights are is told once, and passes: with
    automatic mixed precision such steps are skipped. A checkpoint with weights that are
    not finite is not written. ``tools/train.py`` adds this hook to every training.

    Args:
        interval: Look at the loss every so many iterations; on a GPU each look waits
            for the device. On a CPU every iteration is looked at.

    Raises:
        DivergedError: After an iteration, and before a checkpoint is written.
    """

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval
        self._told = False

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the losses, and where one is not finite at the weights."""
        losses = {
            name: value
            for name, value in (outputs or {}).items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        on_gpu = any(value.is_cuda for value in losses.values())
        if on_gpu and not self.every_n_train_iters(runner, self.interval):
            return
        bad = next((n for n, v in losses.items() if not v.isfinite().all()), None)
        if bad is None:
            return
        value = losses[bad].detach().flatten()[0].item()
        where = f'{bad} is {value} at iteration {runner.iter + 1}'
        weight = _not_finite(runner.model)
        if weight is not None:
            raise DivergedError(
                f"The training diverged: {where}, and so is the parameter '{weight}'; "
                'lower the learning rate, clip gradients, or go on from an earlier '
                'checkpoint.'
            )
        if not self._told:
            self._told = True
            runner.logger.warning(
                f'{where}, and the weights are finite still: the training goes on. '
                'This is said once.'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse to write weights that are no numbers."""
        weight = _not_finite(runner.model)
        if weight is not None:
            raise DivergedError(
                f"The training diverged: the parameter '{weight}' is not finite at "
                f'iteration {runner.iter + 1}, and no checkpoint of it is written; '
                'lower the learning rate, or go on from an earlier checkpoint.'
            )


@torch.no_grad()
def _not_finite(model: nn.Module) -> str | None:
    """Return the name of a parameter that is not finite."""
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return name
    return None
