"""Two runs do not write into one folder."""

import os

import pytest
from helpers.holding import held_by_another

from mmdcls.locks import LOCK, InUseError, held


def test_the_second_is_refused_and_told_of_the_first(tmp_path):
    with (
        held_by_another(tmp_path) as pid,
        pytest.raises(InUseError, match=f'in use by process {pid} on '),
        held(tmp_path),
    ):
        pass


def test_what_a_killed_one_leaves_is_no_obstacle(tmp_path):
    with held_by_another(tmp_path):
        pass
    assert (tmp_path / LOCK).exists()
    with held(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    assert not list(tmp_path.iterdir())


def test_the_folder_is_made_and_let_go_after_an_error(tmp_path):
    with pytest.raises(KeyError), held(tmp_path / 'a/b'):
        raise KeyError
    assert not list((tmp_path / 'a/b').iterdir())
    with held(tmp_path / 'a/b'):
        pass
