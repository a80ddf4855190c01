"""Log how the positions of kernel elements spread and move."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmdcls.errors import ArgumentError
from mmdcls.layers import DCLSConvNd, position_limits
from mmdcls.registry import HOOKS

from .loops import check_turn_comes, counts_epochs, dcls_layers_of
from .sharding import plain_name, whole_parameters

_STATE_KEY = 'position_statistics'


@HOOKS.register_module()
class PositionStatisticsHook(Hook):
    """Log spread, share at the border and speed of every position tensor.

    The names of the scalars are ``positions/<owner>/<quantity>``, with the first layer
    that owns the tensor, and

    - ``speed``: mean absolute change since the last time, in pixels (Appendix F's
      ``V_P``, Figure 7, with ``interval`` of one epoch); 0 the first time. A training
      that is resumed goes on from the last time before.
    - ``std``: standard deviation, in pixels (Appendix E).
    - ``at_border``: share of coordinates on the kernel's limits. Paper §3: a pile there
      says that the dilated kernel size is too small.

    Args:
        interval: The number of epochs or iterations from one log to the next; by
            default each epoch is logged, or every 50 iterations.
        by_epoch: Count in epochs, or in iterations; by default in what the training
            loop counts.

    Raises:
        ArgumentError: If ``interval`` is below 1; when the training starts, if it is
            shorter than ``interval``, has no epochs to count, or if the model has no
            DCLS layer.
    """

    priority = 'BELOW_NORMAL'

    def __init__(
        self, interval: int | None = None, by_epoch: bool | None = None
    ) -> None:
        if interval is not None and interval < 1:
            raise ArgumentError(
                f'PositionStatisticsHook: interval={interval} must be at least 1.'
            )
        self.interval = interval
        self.by_epoch = by_epoch
        self._resumed: dict[str, Tensor] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the positions of the last log, which the next speeds are taken from."""
        if hasattr(self, '_previous') and 'optimizer' in checkpoint:
            checkpoint[_STATE_KEY] = {
                owner: positions.cpu() for owner, positions in self._previous.items()
            }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take them up again when a training is resumed."""
        kept = checkpoint.get(_STATE_KEY)
        if runner._resume and isinstance(kept, dict):
            self._resumed = kept

    def before_train(self, runner: Runner) -> None:
        """Find the tensors and remember where they start."""
        self.by_epoch = counts_epochs(self, runner, self.by_epoch)
        if self.interval is None:
            self.interval = 1 if self.by_epoch else min(50, runner.max_iters)
        check_turn_comes(self, runner, 'interval', self.interval, self.by_epoch)
        self._owners: dict[int, tuple[str, DCLSConvNd]] = {}
        for name, layer in dcls_layers_of(self, runner.model).items():
            owner = plain_name(name).removeprefix('module.')
            self._owners.setdefault(id(layer.positions), (owner, layer))
        self._previous = {
            owner: _start(self._resumed.get(owner), positions)
            for owner, positions in self._snapshot(runner).items()
        }

    def after_train_epoch(self, runner: Runner) -> None:
        """Log at the end of an epoch."""
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._log(runner, runner.epoch + 1)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Log at the end of an iteration."""
        if not self.by_epoch and self.every_n_train_iters(runner, self.interval):
            self._log(runner, runner.iter + 1)

    def _log(self, runner: Runner, step: int) -> None:
        scalars = {}
        positions_of = self._snapshot(runner)
        for owner, layer in self._owners.values():
            positions = positions_of[owner]
            limits = position_limits(positions, layer.dilated_kernel_size)
            moved = (positions - self._previous[owner]).abs().mean()
            scalars[f'positions/{owner}/speed'] = moved.item()
            scalars[f'positions/{owner}/std'] = positions.std().item()
            at_border = (positions.abs() >= limits).float().mean()
            scalars[f'positions/{owner}/at_border'] = at_border.item()
        self._previous = positions_of
        runner.visualizer.add_scalars(scalars, step=step)
        for name, value in scalars.items():
            runner.message_hub.update_scalar(name, value)

    def _snapshot(self, runner: Runner) -> dict[str, Tensor]:
        with whole_parameters(runner.model):
            return {
                owner: layer.positions.detach().float().clone()
                for owner, layer in self._owners.values()
            }


def _start(kept: object, now: Tensor) -> Tensor:
    """Return the positions of the last log, of this layer."""
    if isinstance(kept, Tensor) and kept.shape == now.shape:
        return kept.to(now)
    return now
