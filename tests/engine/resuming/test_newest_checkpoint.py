import pytest
import torch

from mmdcls.engine.resuming.newest_checkpoint import newest_checkpoint

TEMPLATE = 'epoch_{}.pth'


@pytest.fixture
def work_dir(tmp_path):
    folder = tmp_path / 'work'
    folder.mkdir()
    for epoch in (2, 9, 10):
        torch.save({'epoch': epoch}, folder / TEMPLATE.format(epoch))
    for other in ('best_acc_epoch_11.pth', 'epoch_x.pth', '.epoch_12.pth.1.tmp'):
        (folder / other).write_bytes(b'')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_10.pth'))
    return folder


def find(folder):
    path, passed_over = newest_checkpoint(folder, folder, TEMPLATE)
    return path and path.name, passed_over


def test_newest_is_the_one_that_is_noted(work_dir):
    assert find(work_dir) == ('epoch_10.pth', [])


DAMAGES = {
    'cut off': lambda content: content[: len(content) // 2],
    'empty': lambda content: b'',
    'zeroed': lambda content: bytes(len(content)),
}


@pytest.mark.parametrize('damage', DAMAGES.values(), ids=list(DAMAGES))
def test_damaged_one_is_passed_over_with_a_sentence(work_dir, damage):
    path = work_dir / 'epoch_10.pth'
    path.write_bytes(damage(path.read_bytes()))
    found, (line,) = find(work_dir)
    assert found == 'epoch_9.pth'
    assert str(path) in line and line.endswith(': it is passed over.')


def test_missing_one_is_passed_over_with_a_sentence(work_dir):
    (work_dir / 'epoch_10.pth').unlink()
    found, (line,) = find(work_dir)
    assert found == 'epoch_9.pth'
    assert 'epoch_10.pth' in line and 'does not exist' in line


NOTES = {
    'empty': (b'', 'it is empty'),
    'garbled': (b'\xff\xfe\x00\x80', 'it cannot be read'),
    'unprintable': (b'epoch_9.pth\x00', 'it is no path'),
    'another path': (b'/nowhere/notes.txt', "it names '/nowhere/notes.txt'"),
    'only slashes': (b'///', "it names '///'"),
}


@pytest.mark.parametrize('note, message', NOTES.values(), ids=list(NOTES))
def test_useless_note_is_no_obstacle(work_dir, note, message):
    (work_dir / 'last_checkpoint').write_bytes(note)
    found, (line,) = find(work_dir)
    assert found == 'epoch_10.pth'
    assert message in line and str(work_dir / 'last_checkpoint') in line


def test_note_of_a_file_that_is_no_checkpoint_is_no_obstacle(work_dir, tmp_path):
    (tmp_path / 'notes.txt').write_text('text')
    (work_dir / 'last_checkpoint').write_text(str(tmp_path / 'notes.txt'))
    found, (line,) = find(work_dir)
    assert found == 'epoch_10.pth'
    assert 'notes.txt' in line and 'it is no archive' in line


def test_missing_note_is_no_obstacle(work_dir):
    (work_dir / 'last_checkpoint').unlink()
    found, (line,) = find(work_dir)
    assert found == 'epoch_10.pth' and 'is missing' in line


@pytest.mark.parametrize(
    'note', ['epoch_9.pth', './epoch_9.pth', '/moved/work/epoch_9.pth\n']
)
def test_relative_and_moved_paths_are_found(work_dir, note):
    (work_dir / 'last_checkpoint').write_text(note)
    assert find(work_dir) == ('epoch_9.pth', [])


def test_copied_folder_takes_its_own_file(work_dir, tmp_path):
    copy = tmp_path / 'copy'
    copy.mkdir()
    for name in ('last_checkpoint', 'epoch_10.pth'):
        (copy / name).write_bytes((work_dir / name).read_bytes())
    path, _ = newest_checkpoint(copy, copy, TEMPLATE)
    assert path == copy / 'epoch_10.pth'


def test_later_ones_of_an_earlier_training_are_left_alone(work_dir):
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_9.pth'))
    (work_dir / 'epoch_9.pth').write_bytes(b'')
    found, _ = find(work_dir)
    assert found == 'epoch_2.pth'


def test_nothing_is_found_where_nothing_is_whole(tmp_path):
    assert find(tmp_path) == (None, [])
    (tmp_path / 'epoch_1.pth').write_bytes(b'PK')
    found, lines = find(tmp_path)
    assert found is None and len(lines) == 2
