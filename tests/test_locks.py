"""Two runs do not write into one folder."""

import os
import signal

import pytest

from mmdcls.locks import LOCK, InUseError, held


def start_holding(folder):
    """Fork a process that holds a folder until it is killed; returns its id."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        with held(folder):
            os.write(done, b'1')
            signal.pause()
        os._exit(0)
    os.read(ready, 1)
    return pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_the_second_is_refused_and_told_of_the_first(tmp_path):
    pid = start_holding(tmp_path)
    try:
        with (
            pytest.raises(InUseError, match=f'in use by process {pid} on '),
            held(tmp_path),
        ):
            pass
    finally:
        kill(pid)


def test_what_a_killed_one_leaves_is_no_obstacle(tmp_path):
    kill(start_holding(tmp_path))
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
