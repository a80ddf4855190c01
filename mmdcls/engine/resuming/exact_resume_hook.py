"""Go on with a training, bit for bit as if it had never been interrupted."""

from __future__ import annotations

from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmdcls.checkpoints.embedded_config import parse_config
from mmdcls.registry import HOOKS

from .differences import config_differences
from .random_states import capture_random_states, restore_random_states
from .saved_state import (
    STATE_KEY,
    accumulated_gradients,
    check_optimizer,
    limits_of_exactness,
    read_saved_state,
    restore_gradients,
    surroundings,
)
from .seeded_data import (
    ResumedBatches,
    SeededBatchSampler,
    can_be_seeded,
    rebuilt_batch_sampler,
    seeded_dataloader,
)


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Keep in checkpoints what mmengine leaves out, and go on from it when resumed.

    These are the states of Python's, NumPy's and PyTorch's random number generators in
    every process, and the gradients that are accumulated for the next step. Samples are
    loaded with generators seeded for each of them from ``randomness.seed``, process,
    epoch and place, so that the number of workers changes nothing; a training that is
    resumed inside an epoch begins there, without loading what it has seen. Validation
    draws no random numbers from the training, and one that was due when the training
    was interrupted is done first.

    On a CPU the resumed training has the same weights, averages and optimizer's state
    as one that was not interrupted. What keeps it from that is logged when it resumes,
    and so is a config that differs from the checkpoint's.

    Raises:
        CheckpointError: When a checkpoint is loaded to resume from, if it holds states
            that no generator can be in, gradients of no parameters, or the state of
            another optimizer than the config's.
    """

    # After whatever changes the model, before mmengine's CheckpointHook (90) saves it.
    priority = 85

    def __init__(self) -> None:
        self._saved: dict | None = None
        self._batches: SeededBatchSampler | None = None
        self._in_training = False
        self._inside_epoch = False
        self._validation_due = False
        self._set_aside: dict | None = None
        self._collected: list[dict] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the states out of a checkpoint that a training resumes from."""
        if not runner._resume or not isinstance(runner._train_loop, BaseLoop):
            return
        source = runner._load_from or 'the latest checkpoint'
        check_optimizer(runner, checkpoint, source)
        self._saved = read_saved_state(checkpoint, runner.model, source)
        for line in self._config_differences(runner, checkpoint):
            runner.logger.warning(line)
        if limits := limits_of_exactness(runner, checkpoint, self._saved):
            runner.logger.warning(
                'The training goes on, but not bit for bit as if it had not been '
                f'interrupted: {"; ".join(limits)}.'
            )

    def before_train(self, runner: Runner) -> None:
        """Put the process into the saved state, now that all is built."""
        self._in_training = True
        self._seed_data(runner)
        state = self._own_state()
        if _nothing_left(runner) or self._saved is None or state is None:
            return
        if state['gradients']:
            restore_gradients(runner.model, state['gradients'])
            # mmengine has just warned that they are lost.
            runner.logger.info('The accumulated gradients are restored.')
        if not self._inside_epoch:
            restore_random_states(state['random'])
        # Inside an epoch it follows the epoch's end.
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        waits = by_epoch and self._batches is not None and self._batches.first > 0
        self._validation_due = (
            not waits and not self._saved['validated'] and _validates(runner)
        )

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the epoch; do the validation that an interruption prevented."""
        if self._batches is not None and isinstance(
            runner.train_loop, EpochBasedTrainLoop
        ):
            self._batches.epoch = runner.epoch
        if self._validation_due:
            self._validation_due = False
            runner.logger.info(
                'The checkpoint was saved before its validation, which follows.'
            )
            if (state := self._own_state()) is not None:
                restore_random_states(state['random'])
            runner.val_loop.run()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Put the generators into the state that they had at this place of an epoch."""
        self._collected = None
        if self._inside_epoch:
            self._inside_epoch = False
            if (state := self._own_state()) is not None:
                restore_random_states(state['random'])

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Collect the states of all processes where a checkpoint is about to be saved.

        mmengine saves in the first process only.
        """
        if any(_saves_now(hook, runner) for hook in runner.hooks):
            self._collect(runner)

    def after_train_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Do the same at the end of an epoch."""
        self._collect(runner)

    def before_val(self, runner: Runner) -> None:
        """Set the states aside, so that validation leaves no trace in the training."""
        if self._in_training:
            self._set_aside = self._state(runner)
            self._collect(runner)

    def after_val(self, runner: Runner) -> None:
        """Go on with the states of before the validation."""
        if self._set_aside is not None:
            restore_random_states(self._set_aside['random'])
            self._set_aside = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the states into a checkpoint that can be resumed from."""
        if not self._in_training or 'optimizer' not in checkpoint:
            return
        processes = self._collected
        if get_world_size() == 1:
            processes = [self._set_aside or self._state(runner)]
        checkpoint[STATE_KEY] = {
            'processes': processes or [],
            'sampler_seed': getattr(self._sampler(), 'seed', None),
            'epoch_length': 0 if self._batches is None else len(self._batches),
            'validated': self._set_aside is not None,
            'surroundings': surroundings(),
        }

    def _collect(self, runner: Runner) -> None:
        if get_world_size() > 1:
            self._collected = all_gather_object(self._set_aside or self._state(runner))

    def _state(self, runner: Runner) -> dict[str, Any]:
        """Return what this process alone knows."""
        return {
            'random': capture_random_states(),
            'gradients': accumulated_gradients(runner),
        }

    def _sampler(self) -> Any:
        return getattr(self._batches, 'sampler', None)

    def _own_state(self) -> dict[str, Any] | None:
        """Return the saved state of this process, if the checkpoint has one."""
        processes = self._saved['processes'] if self._saved else []
        return processes[get_rank()] if len(processes) == get_world_size() else None

    def _config_differences(self, runner: Runner, checkpoint: dict) -> list[str]:
        try:
            before = parse_config(checkpoint['meta']['cfg'])
        except (KeyError, TypeError, ValueError, SyntaxError):
            return []
        return config_differences(before, runner.cfg) if before else []

    def _trained_batches(self, runner: Runner, epoch_length: int) -> int:
        """Count the batches of the current epoch that were trained before."""
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop):
            return loop.iter
        if self._saved is None or not self._saved['epoch_length']:
            # mmengine's own checkpoints begin their epoch anew.
            return 0
        # Another batch size or number of processes make another length: the same share.
        before = self._saved['epoch_length']
        trained = loop.iter - loop.epoch * before
        return min(max(trained, 0) * epoch_length // before, epoch_length)

    def _seed_data(self, runner: Runner) -> None:
        """Have the training's data seeded, from the batch on where it was left."""
        loop = runner.train_loop
        by_iteration = isinstance(loop, IterBasedTrainLoop)
        if not (by_iteration or isinstance(loop, EpochBasedTrainLoop)):
            return
        if not can_be_seeded(loop.dataloader):
            return
        old = loop.dataloader
        batches = old.batch_sampler
        if by_iteration:
            batches = rebuilt_batch_sampler(old, runner._train_dataloader)
        seed = (abs(runner.seed), get_rank())
        self._batches = SeededBatchSampler(batches, seed, endless=by_iteration)
        # Without `randomness.seed` the sampler has drawn a new one.
        if self._saved and hasattr(self._sampler(), 'seed'):
            self._sampler().seed = self._saved['sampler_seed']
        self._batches.first = self._trained_batches(runner, len(old))
        self._inside_epoch = self._batches.first > 0
        if not by_iteration:
            # At its very end nothing more is loaded.
            self._inside_epoch &= self._batches.first < len(old)
        loop.dataloader = seeded_dataloader(old, self._batches)
        if by_iteration:
            loop.dataloader_iterator = ResumedBatches(loop.dataloader, loop.iter)


def _nothing_left(runner: Runner) -> bool:
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    done, end = (
        (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    )
    if done < end:
        return False
    runner.logger.warning(
        f'Nothing is left to train: {runner._load_from} has {done} of {end} '
        f'{"epochs" if by_epoch else "iterations"}. A larger max_'
        f'{"epochs" if by_epoch else "iters"} goes on, tools/test.py evaluates it.'
    )
    return True


def _validates(runner: Runner) -> bool:
    """Tell whether the training validates at the place where it is."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    if not by_epoch and not isinstance(loop, IterBasedTrainLoop):
        return False
    loop._decide_current_val_interval()
    done = loop.epoch if by_epoch else loop.iter
    return (
        runner.val_loop is not None
        and done >= loop.val_begin
        and done % loop.val_interval == 0
    )


def _saves_now(hook: Hook, runner: Runner) -> bool:
    """Tell whether a hook saves a checkpoint at the end of this iteration."""
    return (
        isinstance(hook, CheckpointHook)
        and not hook.by_epoch
        and (
            hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
            or (hook.save_last and hook.is_last_train_iter(runner))
        )
    )
