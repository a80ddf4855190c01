import os

import pytest

from mmdcls.files import (
    OverwritingError,
    list_images,
    refuse_overwriting,
    write_text,
    written_whole,
)


def test_folders_are_made_and_the_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / 'new' / 'a.txt'
    with written_whole(path) as temporary:
        temporary.write_text('text')
        assert temporary.parent == path.parent and temporary.suffix == '.tmp'
        assert not path.exists()
    assert path.read_text() == 'text'
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(RuntimeError), written_whole(path) as temporary:
        temporary.write_text('half')
        raise RuntimeError
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, 'fsync', lambda fd: (events.append(os.fstat(fd).st_size), sync(fd))
    )
    monkeypatch.setattr(
        os, 'replace', lambda *names: (events.append('name'), replace(*names))
    )
    write_text(tmp_path / 'a.txt', 'text')
    assert events == [4, 'name']


@pytest.fixture
def photo(tmp_path):
    """A file; ``link.png``, ``hard.png`` and ``linked/photo.png`` are it too."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    path = folder / 'photo.png'
    path.write_text('pixels')
    (tmp_path / 'link.png').symlink_to(path)
    os.link(path, tmp_path / 'hard.png')
    (tmp_path / 'linked').symlink_to(folder)
    return path


@pytest.mark.parametrize(
    'name',
    [
        'photos/photo.png',
        'link.png',
        'hard.png',
        'linked/photo.png',
        'absent/../photos/photo.png',
    ],
)
def test_every_name_of_an_input_is_refused(name, photo, tmp_path):
    other = tmp_path / name
    with pytest.raises(OverwritingError, match='is the same and is to be read'):
        refuse_overwriting([tmp_path / 'other.png', other], [photo])
    with pytest.raises(OverwritingError, match='is the same and is to be read'):
        refuse_overwriting([photo], [other])


@pytest.mark.parametrize(
    'name', ['photos/new.png', 'photos/new/deep.png', 'linked/new.png']
)
def test_what_lies_in_a_folder_to_read_is_refused(name, photo, tmp_path):
    with pytest.raises(OverwritingError, match=r"lies in '.*photos', which is to be"):
        refuse_overwriting([tmp_path / name], [photo.parent])


def test_what_spoils_nothing_is_accepted(photo, tmp_path):
    outputs = ['photos/new.png', 'new.png', 'photos2/photo.png']
    refuse_overwriting([tmp_path / name for name in outputs], [photo])
    refuse_overwriting([tmp_path / 'photos2'], [photo.parent, tmp_path / 'absent'])


def test_images_of_a_folder_are_neither_hidden_nor_half_written(tmp_path):
    names = ['b.PNG', 'a.jpeg', '._a.jpeg', '.DS_Store', 'Thumbs.db', '.a.png.7.tmp']
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / 'folder.png').mkdir()
    assert [path.name for path in list_images(tmp_path)] == ['a.jpeg', 'b.PNG']
