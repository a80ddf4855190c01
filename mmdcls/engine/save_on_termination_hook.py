"""Save a checkpoint when a cluster ends a training."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmdcls.files import write_text
from mmdcls.registry import HOOKS

EXIT_CODE = 128 + signal.SIGTERM


@HOOKS.register_module()
class SaveOnTerminationHook(Hook):
    """On SIGTERM, finish the iteration, save a checkpoint, and end the training.

    Clusters send SIGTERM some seconds before SIGKILL when the time of a job is over.
    The checkpoint is ``iter_N.pth`` in ``work_dir``, and ``last_checkpoint`` names it,
    so that ``--resume`` goes on from it. The exit code is 143. During a validation, the
    signal waits for the next iteration of the training.

    Args:
        interval: With several processes, how often, in iterations, they ask each other
            whether one got the signal.
    """

    # After the hooks that change the model, and after mmengine's CheckpointHook (90).
    priority = 95

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._signalled = False
        self._before: Any = None

    def before_train(self, runner: Runner) -> None:
        """Take SIGTERM over."""
        self._before = signal.signal(signal.SIGTERM, self._note)

    def after_train(self, runner: Runner) -> None:
        """Give SIGTERM back."""
        signal.signal(signal.SIGTERM, self._before or signal.SIG_DFL)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Save and end, if the signal has come.

        Raises:
            SystemExit: Then, in every process, with the exit code 143.
        """
        if not self._has_to_end(runner):
            return
        self.after_train(runner)
        filename = f'iter_{runner.iter + 1}.pth'
        saving = next((h for h in runner.hooks if isinstance(h, CheckpointHook)), None)
        runner.save_checkpoint(
            runner.work_dir,
            filename,
            by_epoch=False,
            backend_args=getattr(saving, 'backend_args', None),
        )
        if is_main_process():
            path = Path(runner.work_dir, filename)
            write_text(Path(runner.work_dir, 'last_checkpoint'), str(path))
            runner.logger.warning(f'Terminated; `--resume` goes on from {path}.')
        sys.exit(EXIT_CODE)

    def _note(self, number: int, frame: object) -> None:
        self._signalled = True

    def _has_to_end(self, runner: Runner) -> bool:
        if get_world_size() == 1:
            return self._signalled
        if not self.every_n_train_iters(runner, self.interval):
            return False
        signalled = torch.tensor(int(self._signalled))
        all_reduce(signalled, 'max')
        return bool(signalled)
