import logging
import os
import shutil

import pytest
import torch
from helpers.engine_runs import run
from mmengine.fileio import get_file_backend
from mmengine.runner import Runner

import mmdcls.engine.resuming.whole_checkpoint_hook as module
from mmdcls.checkpoints import CheckpointError, read_checkpoint
from mmdcls.engine.resuming.whole_checkpoint_hook import BACKEND, WholeFilesBackend


def hooks(**options):
    settings = dict(type='mmdcls.WholeCheckpointHook', interval=1, **options)
    return dict(checkpoint=settings, exact_resume=dict(type='mmdcls.ExactResumeHook'))


def epochs_in(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


@pytest.fixture
def warnings(monkeypatch):
    """The warnings of the runners, as they come."""
    lines = []
    build = Runner.build_logger

    class Listen(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    def build_logger(self, *args, **kwargs):
        logger = build(self, *args, **kwargs)
        logger.addHandler(Listen(logging.WARNING))
        return logger

    monkeypatch.setattr(Runner, 'build_logger', build_logger)
    return lines


def test_checkpoints_are_mmengines(tmp_path):
    run(tmp_path / 'ours', default_hooks=hooks(max_keep_ckpts=2), max_epochs=3)
    plain = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2))
    run(tmp_path / 'plain', default_hooks=plain, max_epochs=3)
    ours, theirs = tmp_path / 'ours', tmp_path / 'plain'
    assert epochs_in(ours) == epochs_in(theirs) == ['epoch_2.pth', 'epoch_3.pth']
    assert (ours / 'last_checkpoint').read_text() == str(ours / 'epoch_3.pth')
    ours, theirs = (read_checkpoint(w / 'epoch_3.pth') for w in (ours, theirs))
    assert ours.keys() - theirs.keys() == {'resume_state'}
    assert not list(tmp_path.rglob('*.tmp'))


def test_file_is_whole_or_not_there(tmp_path, monkeypatch):
    backend = get_file_backend('x', backend_args={'backend': BACKEND})
    path = tmp_path / 'folder/file.pth'
    backend.put(b'first', str(path))

    def fail(*args):
        raise OSError('No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='No space'):
        backend.put(b'second', str(path))
    assert path.read_bytes() == b'first'
    assert [p.name for p in path.parent.iterdir()] == ['file.pth']


def test_older_one_stays_until_the_new_one_is_readable(tmp_path, monkeypatch):
    check, present = module.check_whole, []

    def look(path):
        present.append(epochs_in(tmp_path))
        check(path)

    monkeypatch.setattr(module, 'check_whole', look)
    run(tmp_path, default_hooks=hooks(max_keep_ckpts=1), max_epochs=3)
    both = [['epoch_1.pth', 'epoch_2.pth'], ['epoch_2.pth', 'epoch_3.pth']]
    assert present == [['epoch_1.pth'], *both]
    assert epochs_in(tmp_path) == ['epoch_3.pth']


def test_damaged_new_one_does_not_cost_the_older_one(tmp_path, monkeypatch):
    check = module.check_whole

    def damage(path):
        if 'epoch_2' in str(path):
            torch.save({}, path)
            with open(path, 'r+b') as file:
                file.truncate(100)
        check(path)

    monkeypatch.setattr(module, 'check_whole', damage)
    with pytest.raises(CheckpointError, match=r'epoch_2.pth.*not a complete'):
        run(tmp_path, default_hooks=hooks(max_keep_ckpts=1), max_epochs=3)
    assert epochs_in(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_1.pth')


def test_best_one_stays_until_the_next_is_written(tmp_path, monkeypatch):
    put, present = WholeFilesBackend.put, []

    def look(backend, content, path):
        put(backend, content, path)
        present.append([n for n in epochs_in(tmp_path) if n.startswith('best')])

    monkeypatch.setattr(WholeFilesBackend, 'put', look)
    options = dict(save_best='mean', max_keep_ckpts=1)
    run(tmp_path, default_hooks=hooks(rule='greater', **options), max_epochs=6)
    assert max(map(len, present)) == 2
    assert len([n for n in epochs_in(tmp_path) if n.startswith('best')]) == 1


def test_one_that_was_to_be_removed_when_killed_is_removed_on_resuming(
    tmp_path, monkeypatch
):
    remove = WholeFilesBackend.remove

    def killed(backend, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(WholeFilesBackend, 'remove', killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, default_hooks=hooks(max_keep_ckpts=1), max_epochs=3)
    assert epochs_in(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']
    monkeypatch.setattr(WholeFilesBackend, 'remove', remove)
    run(tmp_path, default_hooks=hooks(max_keep_ckpts=1), max_epochs=3, resume=True)
    assert epochs_in(tmp_path) == ['epoch_3.pth']


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    process = os.fork()
    if not process:
        os._exit(0)
    os.waitpid(process, 0)
    left, others = f'.epoch_1.pth.{process}.tmp', f'.epoch_9.pth.{os.getpid()}.tmp'
    (tmp_path / left).write_bytes(b'half')
    (tmp_path / others).write_bytes(b'half')
    run(tmp_path, default_hooks=hooks(), max_epochs=1)
    assert [path.name for path in tmp_path.glob('.*')] == [others]


DAMAGES = {
    'truncated': lambda path: os.truncate(path, 900),
    'empty': lambda path: os.truncate(path, 0),
    'zeroed': lambda path: path.write_bytes(bytes(path.stat().st_size)),
    'missing': lambda path: path.unlink(),
}


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=list(DAMAGES))
def test_resumes_from_the_one_before_with_a_warning(tmp_path, warnings, damage):
    run(tmp_path, default_hooks=hooks(), max_epochs=3)
    damage(tmp_path / 'epoch_3.pth')
    runner = run(tmp_path, default_hooks=hooks(), max_epochs=3, resume=True)
    assert runner._load_from == str(tmp_path / 'epoch_2.pth')
    (line,) = (line for line in warnings if 'passed over' in line)
    assert str(tmp_path / 'epoch_3.pth') in line
    assert read_checkpoint(tmp_path / 'epoch_3.pth')['meta']['epoch'] == 3


NOTES = [b'', b'\xff\x00', b'epoch_2.pth', b'/old/epoch_2.pth']


@pytest.mark.parametrize('note', NOTES, ids=['empty', 'garbled', 'relative', 'moved'])
def test_note_is_no_obstacle(tmp_path, note):
    run(tmp_path, default_hooks=hooks(), max_epochs=2)
    (tmp_path / 'last_checkpoint').write_bytes(note)
    runner = run(tmp_path, default_hooks=hooks(), max_epochs=3, resume=True)
    assert runner._load_from == str(tmp_path / 'epoch_2.pth')
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')


def test_starts_anew_where_nothing_is_whole(tmp_path, warnings):
    run(tmp_path, default_hooks=hooks(), max_epochs=1)
    os.truncate(tmp_path / 'epoch_1.pth', 50)
    runner = run(tmp_path, default_hooks=hooks(), max_epochs=1, resume=True)
    assert runner.epoch == 1
    assert any('the training starts anew' in line for line in warnings)


def test_named_one_that_is_damaged_is_refused(tmp_path):
    run(tmp_path / 'first', default_hooks=hooks(), max_epochs=1)
    path = tmp_path / 'first/epoch_1.pth'
    os.truncate(path, 900)
    with pytest.raises(CheckpointError, match=r'epoch_1.pth.*not a complete'):
        run(
            tmp_path / 'second',
            default_hooks=hooks(),
            resume=True,
            load_from=str(path),
        )


def test_copied_training_removes_nothing_of_the_original(tmp_path):
    # The mean prediction rises for two epochs and falls from then on.
    rising, falling = (hooks(save_best='mean', rule=r) for r in ('greater', 'less'))
    run(tmp_path / 'first', default_hooks=rising, max_epochs=2)
    shutil.copytree(tmp_path / 'first', tmp_path / 'second')
    before = epochs_in(tmp_path / 'first')
    run(tmp_path / 'second', default_hooks=falling, max_epochs=6, resume=True)
    assert epochs_in(tmp_path / 'first') == before
    best = [n for n in epochs_in(tmp_path / 'second') if n.startswith('best')]
    assert len(best) == 1 and best[0] not in before


def test_checkpoints_elsewhere_are_found_again(tmp_path):
    out_dir = dict(out_dir=str(tmp_path / 'out'))
    run(tmp_path / 'work', default_hooks=hooks(**out_dir), max_epochs=2)
    assert epochs_in(tmp_path / 'out/work') == ['epoch_1.pth', 'epoch_2.pth']
    os.truncate(tmp_path / 'out/work/epoch_2.pth', 900)
    runner = run(
        tmp_path / 'work', default_hooks=hooks(**out_dir), max_epochs=2, resume=True
    )
    assert runner._load_from == str(tmp_path / 'out/work/epoch_1.pth')
