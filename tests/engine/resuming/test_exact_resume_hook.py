"""What resuming says and refuses; tests/faults/test_resume.py has its results."""

import logging
import re

import pytest
import torch
from faults.runs import differences, last_checkpoint, train
from faults.trainings import SETTINGS, write_data
from mmengine.hooks import Hook
from mmengine.logging import MMLogger

from mmdcls.checkpoints import CheckpointError, read_checkpoint

EPOCHS = SETTINGS['epochs']


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_data(folder)
    return folder


@pytest.fixture(scope='module')
def interrupted(data, tmp_path_factory):
    """The checkpoint of a first epoch."""
    folder = tmp_path_factory.mktemp('interrupted')
    train(EPOCHS, data, folder, before=7)
    return folder / 'epoch_1.pth'


@pytest.fixture
def resume(data, interrupted, tmp_path, monkeypatch):
    """A function that resumes, and returns the warnings."""
    lines = []

    class Listen(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    listener = Listen(logging.WARNING)
    call = MMLogger.callHandlers

    def also_listen(logger, record):
        if record.levelno >= logging.WARNING:
            listener.emit(record)
        call(logger, record)

    monkeypatch.setattr(MMLogger, 'callHandlers', also_listen)

    def go(content=None, change=None, before=7, **options):
        path = interrupted
        if content is not None:
            path = tmp_path / 'changed.pth'
            torch.save(content, path)
        options = dict(resume=True, load_from=str(path), **options)
        work_dir = tmp_path / 'work'
        train(EPOCHS, data, work_dir, change=change, before=before, **options)
        return [line for line in lines if 'bit for bit' in line or 'Another' in line]

    go.lines = lines
    return go


def test_nothing_is_said_of_an_exact_resumption(resume):
    assert resume() == []


CHANGES = {
    'seed': ({'randomness.seed': 1}, 'Another seed .*randomness.seed was 0 and is 1'),
    'batch size': (
        {'train_dataloader.batch_size': 3},
        'Another batch size .*train_dataloader.batch_size was 2 and is 3',
    ),
    'schedule': (
        {'param_scheduler.1.T_max': 99},
        r'Another schedule .*param_scheduler\[1\].T_max was 12 and is 99; the chec',
    ),
    'optimizer': (
        {'optim_wrapper.optimizer.lr': 0.5},
        'Another optimizer .*optim_wrapper.optimizer.lr was 0.01 and is 0.5; of the',
    ),
    'architecture': (
        {'model.backbone.drop_path_rate': 0.1},
        'Another architecture .*model.backbone.drop_path_rate was 0.3 and is 0.1',
    ),
}


@pytest.mark.parametrize('settings, message', CHANGES.values(), ids=list(CHANGES))
def test_other_configs_are_told_in_a_line(resume, settings, message):
    (line,) = resume(change=lambda cfg: cfg.merge_from_dict(settings))
    assert re.search(message, line)


def test_workers_are_no_difference(resume):
    assert resume(change=lambda cfg: cfg.train_dataloader.update(num_workers=1)) == []


def test_other_batch_size_makes_an_epoch_of_another_length(resume, tmp_path):
    batch_size = {'train_dataloader.batch_size': 3}
    resume(change=lambda cfg: cfg.merge_from_dict(batch_size), before=None)
    # An epoch of 6 iterations of 2 images, and one of 4 of 3.
    assert last_checkpoint(tmp_path / 'work')['meta']['iter'] == 6 + 4


def test_other_optimizer_is_refused(resume):
    def change(cfg):
        cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.1, momentum=0.9)

    with pytest.raises(CheckpointError, match="SGD, which needs 'dampening'"):
        resume(change=change)


def test_other_number_of_param_groups_is_refused(resume, interrupted):
    content = read_checkpoint(interrupted)
    content['optimizer']['param_groups'].pop()
    with pytest.raises(CheckpointError, match='param groups and the config'):
        resume(content)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.pop('resume_state'), 'saved without mmdcls.ExactResumeHook'),
        (lambda c: c['resume_state'].update(processes=[]), 'lacks the random states'),
        (
            lambda c: c['resume_state'].update(
                processes=c['resume_state']['processes'] * 2
            ),
            '2 processes wrote it, and 1 go on',
        ),
        (
            lambda c: c['resume_state']['surroundings'].update(PyTorch='0.4'),
            'PyTorch was 0.4 and is',
        ),
        (lambda c: c.pop('optimizer'), "lacks the optimizer's state"),
    ],
    ids=['foreign', 'no states', 'processes', 'PyTorch', 'no optimizer'],
)
def test_limits_are_told(resume, interrupted, change, message):
    content = read_checkpoint(interrupted)
    change(content)
    (line,) = resume(content)
    assert message in line and 'not bit for bit' in line


HOSTILE = {
    'no dictionary': lambda state: [1],
    'without processes': lambda state: {},
    'processes of another kind': lambda state: {**state, 'processes': 3},
    'seed that is none': lambda state: {**state, 'sampler_seed': 'text'},
    'negative seed': lambda state: {**state, 'sampler_seed': -1},
    'length that is none': lambda state: {**state, 'epoch_length': 'long'},
    'gradient of nothing': lambda state: with_gradient(state, 'nothing', 1.0),
    'gradient of another shape': lambda state: with_gradient(
        state, 'head.fc.bias', torch.zeros(99)
    ),
    'gradient that is none': lambda state: with_gradient(state, 'head.fc.bias', 'text'),
    'random state that is none': lambda state: {
        **state,
        'processes': [{'random': {'torch': torch.zeros(3)}, 'gradients': {}}],
    },
    'process of another kind': lambda state: {**state, 'processes': [4]},
    'surroundings of another kind': lambda state: {**state, 'surroundings': 5},
}


def with_gradient(state, name, value):
    process = {**state['processes'][0], 'gradients': {name: value}}
    return {**state, 'processes': [process]}


@pytest.mark.parametrize('damage', HOSTILE.values(), ids=list(HOSTILE))
def test_damaged_state_is_refused_in_a_sentence(resume, interrupted, damage):
    content = read_checkpoint(interrupted)
    content['resume_state'] = damage(content['resume_state'])
    with pytest.raises(CheckpointError, match='resume_state is damaged') as error:
        resume(content)
    assert '\n' not in str(error.value)


def test_nothing_left_to_do_is_said(resume, data, tmp_path):
    resume(before=None)
    train(EPOCHS, data, tmp_path / 'work', resume=True)
    (line,) = (line for line in resume.lines if 'Nothing is left to train' in line)
    assert 'has 2 of 2 epochs' in line


class Scores(Hook):
    """Keep the scores of validations."""

    def __init__(self):
        self.scores = []

    def after_val_epoch(self, runner, metrics=None):
        self.scores.append(metrics)


def test_validation_that_was_prevented_is_done(data, tmp_path):
    setting = SETTINGS['validation']
    whole, resumed = Scores(), Scores()
    train(setting, data, tmp_path / 'whole', hooks=[whole])
    assert len(whole.scores) == 2
    train(setting, data, tmp_path / 'cut', before=7)
    # As if it was killed before: the best score is not noted in the checkpoint yet.
    path = tmp_path / 'cut/epoch_1.pth'
    content = read_checkpoint(path)
    content['resume_state']['validated'] = False
    torch.save(content, path)
    train(setting, data, tmp_path / 'cut', resume=True, hooks=[resumed])
    assert resumed.scores == whole.scores


def test_validation_leaves_no_trace_in_the_training(data, tmp_path):
    for name in ('epochs', 'validation'):
        train(SETTINGS[name], data, tmp_path / name)
    expected, found = (last_checkpoint(tmp_path / n) for n in ('epochs', 'validation'))
    found['resume_state']['validated'] = expected['resume_state']['validated']
    assert not differences(expected, found)


def test_checkpoints_for_others_hold_no_states(data, tmp_path):
    train(SETTINGS['validation'], data, tmp_path)
    (best,) = tmp_path.glob('best_*.pth')
    assert 'resume_state' not in read_checkpoint(best)
    assert 'position_statistics' not in read_checkpoint(best)
