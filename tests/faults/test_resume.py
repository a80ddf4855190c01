"""A training that is interrupted and resumed ends as one that was not, bit for bit."""

import dataclasses
import shutil

import pytest

from faults.kill_and_resume import run_cycles
from faults.runs import LENGTH, differences, last_checkpoint, start, train, wait
from faults.trainings import SETTINGS, write_data

WORK_DIRS = ('whole', 'cut')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_data(folder)
    return folder


def run(setting, data, work_dir, **options):
    if setting.processes == 1:
        train(setting, data, work_dir, **options)
        return
    # All of them are interrupted before the same iteration.
    ended_well = wait(start(setting, data, work_dir, **options))
    log = (work_dir / '0.txt').read_text()[-3000:]
    if "No module named 'mmcv._ext'" in log:
        raise ModuleNotFoundError(log)  # As in this process, see conftest.py.
    assert ended_well, log


def interrupted(setting, data, work_dir, **options):
    """Interrupt in the second epoch, in the middle of an accumulation if there is."""
    before = setting.epoch_length * LENGTH * 2 // 3 + 1
    run(setting, data, work_dir, before=before, **options)
    run(setting, data, work_dir, resume=True, **options)
    return last_checkpoint(work_dir)


@pytest.mark.parametrize('name', SETTINGS)
def test_resumed_training_is_the_uninterrupted_one(name, data, tmp_path):
    setting = SETTINGS[name]
    run(setting, data, tmp_path / 'whole')
    expected = last_checkpoint(tmp_path / 'whole')
    assert not differences(expected, interrupted(setting, data, tmp_path / 'cut'))
    whole, cut = (
        sorted(p.name for p in tmp_path.glob(f'{w}/*.pth')) for w in WORK_DIRS
    )
    assert whole == cut


def test_a_difference_would_be_found(data, tmp_path):
    setting = SETTINGS['epochs']
    run(setting, data, tmp_path / 'whole', exact=False)
    expected = last_checkpoint(tmp_path / 'whole')
    found = interrupted(setting, data, tmp_path / 'cut', exact=False)
    parts = {key.split('/')[1] for key in differences(expected, found)}
    assert parts == {'state_dict', 'ema_state_dict', 'optimizer', 'position_statistics'}


def test_number_of_workers_changes_nothing(data, tmp_path):
    names = ('epochs', 'two workers', 'persistent worker')
    for name in names:
        run(SETTINGS[name], data, tmp_path / name)
    expected, *others = (last_checkpoint(tmp_path / name) for name in names)
    for found in others:
        assert not differences(expected, found)


@pytest.mark.parametrize('name', ['two workers', 'segmentation, persistent workers'])
def test_seed_that_was_drawn_is_taken_up(name, data, tmp_path):
    setting = dataclasses.replace(SETTINGS[name], seed=None)
    run(setting, data, tmp_path / 'whole')
    first = min(tmp_path.glob('whole/*_*.pth'), key=lambda path: path.stat().st_mtime)
    (tmp_path / 'cut').mkdir()
    shutil.copy(first, tmp_path / 'cut')
    run(setting, data, tmp_path / 'cut', resume=True)
    assert not differences(*(last_checkpoint(tmp_path / w) for w in WORK_DIRS))


@pytest.mark.slow
def test_killed_trainings_are_the_uninterrupted_ones(tmp_path):
    names = ['persistent workers, inside epochs', 'segmentation', 'two processes']
    counts = run_cycles(tmp_path, cycles=3, seed=0, names=names)
    assert all(count['identical'] == 1 for count in counts.values())
    assert sum(count['kills'] for count in counts.values()) > 0
