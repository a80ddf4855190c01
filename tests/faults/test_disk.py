"""A disk that is full, or that cannot be written to, is told in one sentence."""

import resource
import signal
import sys
from contextlib import contextmanager

import pytest
from bad_inputs.cases import Case, try_case
from bad_inputs.catalogue import write_materials

from faults.writing import TOOLS

READ_ONLY = '/sys'
"""No user, not even root, can make a folder here."""

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='needs /sys of Linux')


@pytest.fixture(scope='session')
def materials(tmp_path_factory):
    folder = tmp_path_factory.mktemp('materials')
    write_materials(folder)
    return folder


@contextmanager
def full_disk(size):
    """No file can become larger than ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize('tool', TOOLS)
def test_a_folder_that_cannot_be_written(tool, materials, tmp_path):
    arguments = TOOLS[tool].replace('{out}', f'{READ_ONLY}/mmdcls')
    answer = try_case(Case('read-only', tool, arguments, ''), materials, tmp_path)
    assert answer.kind == 'sentence', answer.text[-3000:]
    assert f'{READ_ONLY}/mmdcls' in answer.text


@pytest.mark.parametrize('tool', TOOLS)
def test_a_disk_that_is_full(tool, materials, tmp_path):
    with full_disk(40):
        answer = try_case(Case('full', tool, TOOLS[tool], ''), materials, tmp_path)
    assert answer.kind == 'sentence', answer.text[-3000:]
    assert 'File too large' in answer.text
    left = [path for path in tmp_path.rglob('*') if path.suffix == '.tmp']
    assert not left
