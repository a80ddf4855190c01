"""SIGTERM ends a training with a checkpoint, where that is asked for."""

import os
import signal

import pytest
import torch
from helpers.engine_runs import run
from mmengine.hooks import Hook


class Terminate(Hook):
    """Sends SIGTERM to this process in the middle of an iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)


def test_the_iteration_is_finished_and_saved(tmp_path):
    hooks = [dict(type='mmdcls.SaveOnTerminationHook'), Terminate(5)]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        run(tmp_path, max_epochs=2, custom_hooks=hooks)
    assert end.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    path = tmp_path / 'iter_6.pth'
    assert (tmp_path / 'last_checkpoint').read_text() == str(path)
    meta = torch.load(path, weights_only=False)['meta']
    assert (meta['epoch'], meta['iter']) == (1, 6)


def test_the_signal_is_given_back_at_the_end(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run(
        *(tmp_path,),
        max_epochs=1,
        custom_hooks=[dict(type='mmdcls.SaveOnTerminationHook')],
    )
    assert signal.getsignal(signal.SIGTERM) is before
