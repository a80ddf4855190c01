import pytest

from mmdcls.files import written_whole


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
