import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.engine_runs import run
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint

from mmdcls.checkpoints.reading import (
    CheckpointError,
    history_buffer_statistic,
    read_checkpoint,
)


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


class AttributeThief:
    """Asks ``getattr`` for something that is not HistoryBuffer's."""

    def __init__(self, owner, name):
        self.arguments = owner, name

    def __reduce__(self):
        return getattr, self.arguments


@pytest.fixture
def hostile(tmp_path):
    """A hostile checkpoint, and the file that exists once it has been run."""
    trace = tmp_path / 'trace'
    path = tmp_path / 'hostile.pth'
    torch.save({'state_dict': {}, 'meta': Hostile(trace)}, path)
    return path, trace


def test_the_hostile_checkpoint_is_dangerous(hostile):
    path, trace = hostile
    torch.load(path, weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize(
    'load', [read_checkpoint, lambda path: load_checkpoint(torch.nn.Identity(), path)]
)
def test_hostile_checkpoint_is_refused_and_not_run(hostile, load):
    path, trace = hostile
    with pytest.raises(
        CheckpointError, match=r"hostile\.pth' holds .*nothing in it was"
    ):
        load(str(path))
    assert not trace.exists()


def test_hostile_checkpoint_in_the_old_format_is_refused(tmp_path):
    trace = tmp_path / 'trace'
    path = tmp_path / 'old.pth'
    torch.save({'x': Hostile(trace)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r'old\.pth.* nothing in it was run'):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    'owner, name',
    [
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, 'register_statistics'),
        (np.ndarray, 'tofile'),
        (dict, 'get'),
    ],
)
def test_getattr_serves_only_history_buffer_statistics(tmp_path, owner, name):
    with pytest.raises(pickle.UnpicklingError, match=name):
        history_buffer_statistic(owner, name)
    path = tmp_path / 'thief.pth'
    torch.save({'x': AttributeThief(owner, name)}, path)
    with pytest.raises(CheckpointError, match='refused'):
        read_checkpoint(path)


@pytest.mark.parametrize('name', ['min', 'max', 'current', 'mean'])
def test_history_buffer_statistics_are_served(name):
    assert history_buffer_statistic(HistoryBuffer, name) is getattr(HistoryBuffer, name)


def test_real_checkpoint_resumes_with_optimizer_and_message_hub(tmp_path):
    hooks = [dict(type='EMAHook'), dict(type='mmdcls.ClampPositionsHook')]
    whole = run(tmp_path / 'whole', max_epochs=3, custom_hooks=hooks)
    saved = read_checkpoint(tmp_path / 'whole' / 'epoch_2.pth')
    assert len(saved['message_hub']['log_scalars']['train/loss']._log_history) == 8
    assert saved['optimizer']['state']

    # What is left of a run that was killed in its third epoch.
    killed = tmp_path / 'killed'
    killed.mkdir()
    shutil.copy(tmp_path / 'whole' / 'epoch_2.pth', killed)
    (killed / 'last_checkpoint').write_text(str(killed / 'epoch_2.pth'))
    resumed = run(killed, max_epochs=3, custom_hooks=hooks, resume=True)
    assert resumed.iter == whole.iter == 12
    assert len(resumed.message_hub.get_scalar('train/loss')._log_history) == 12
    ends = [
        read_checkpoint(tmp_path / name / 'epoch_3.pth') for name in ('whole', 'killed')
    ]
    for key in ('state_dict', 'ema_state_dict'):
        for name, value in ends[0][key].items():
            torch.testing.assert_close(ends[1][key][name], value)


@pytest.mark.parametrize('length', [0, 10, 2000])
def test_truncated_checkpoint_names_the_file(tmp_path, length):
    path = tmp_path / 'truncated.pth'
    torch.save({'state_dict': {'weight': torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r'truncated\.pth'):
        read_checkpoint(path)


def test_missing_checkpoint_names_the_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pth' does not exist"):
        read_checkpoint(tmp_path / 'absent.pth')


def test_checkpoint_that_is_no_dictionary(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / 'list.pth')
    with pytest.raises(CheckpointError, match='holds a list'):
        read_checkpoint(tmp_path / 'list.pth')


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    save_file({'weight': torch.arange(3.0)}, tmp_path / 'a.safetensors')
    loaded = read_checkpoint(tmp_path / 'a.safetensors')
    torch.testing.assert_close(loaded['weight'], torch.arange(3.0))
