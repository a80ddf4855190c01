"""What a machine does to a run is told in a sentence."""

import errno
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmdcls.sentences import find_sentence


class Killed(Dataset):
    """Kills the process that loads it."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def sentence_of(call):
    try:
        call()
    except Exception as error:
        return find_sentence(error)
    raise AssertionError('nothing was raised')


def test_a_worker_that_is_killed():
    sentence = sentence_of(lambda: list(DataLoader(Killed(), num_workers=1)))
    assert sentence.startswith('A process that loads data (pid ')
    assert 'was killed' in sentence or 'ended unexpectedly' in sentence


def test_a_process_of_a_pool_that_is_killed():
    def run():
        with ProcessPoolExecutor(1) as pool:
            pool.submit(os.kill, os.getpid(), 0).result()
            pool.submit(os._exit, 1).result()

    assert 'was killed' in sentence_of(run)


@pytest.mark.parametrize('size', [(10**9, 10**9), (2**40, 2**40, 2**40)])
def test_memory_that_is_not_there(size):
    assert 'memory' in sentence_of(lambda: torch.empty(size))


def test_memory_of_a_gpu():
    text = 'CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …'
    sentence = find_sentence(torch.cuda.OutOfMemoryError(text))
    assert sentence.startswith('The GPU has no 2.00 GiB of memory left')


def test_python_has_no_memory_either():
    assert 'not enough memory' in find_sentence(MemoryError())


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EFBIG, errno.EROFS])
def test_a_system_that_refuses(code):
    error = OSError(code, os.strerror(code), 'a.pth')
    assert find_sentence(error) == (f"The system refuses 'a.pth': {os.strerror(code)}.")


def test_a_file_in_the_place_of_a_folder(tmp_path):
    (tmp_path / 'a').touch()
    assert 'is a file, and a folder is needed there' in sentence_of(
        (tmp_path / 'a').mkdir
    )


@pytest.mark.parametrize('error', [KeyError('a'), RuntimeError('b'), OSError('c')])
def test_nothing_is_said_of_a_bug(error):
    assert find_sentence(error) is None
