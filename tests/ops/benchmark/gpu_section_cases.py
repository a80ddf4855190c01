"""Sections that need a GPU, in Triton's interpreter: ``test_complete.py`` runs this."""

import contextlib

import pytest
import torch

from mmdcls.ops.backends import tuning
from mmdcls.ops.benchmark import __main__ as benchmark
from mmdcls.ops.benchmark import layers, sections


@pytest.fixture
def options(monkeypatch):
    """Tiny maps and kernels, and nothing is really timed."""

    def time_on_gpu(function):
        function()
        return 1.0

    monkeypatch.setattr(tuning, 'time_on_gpu', time_on_gpu)
    monkeypatch.setattr(layers, 'KERNEL_SIZE', 3)
    monkeypatch.setattr(sections, '_MODELS', {'tiny': (1, 3, 4)})
    options = benchmark.parse_args(['--device', 'cpu', '--report', 'OUT'])
    options.stages, options.batch_sizes = ((2, 3),), [1]
    options.dtypes = (torch.float16, torch.float32)
    return options


def test_parity(options, monkeypatch):
    monkeypatch.setattr(sections, '_PARITY_CASES', (((1, 2, 3, 4), (3, 3)),))
    rows = list(sections.parity(options))
    tested = {row['backend'] for row in rows if row['result'] == 'passed'}
    assert tested == {'aten', 'triton', 'toeplitz'}
    assert all('FAILED' not in row['result'] for row in rows)


def test_backend_times(options):
    rows = list(sections.backend_times(options))
    assert len(rows) == 2 * 2 * 3
    for row in rows:
        assert row['aten'] == row['triton'] == row['toeplitz'] == '1.000'
        assert row['auto'] == 'aten'


def test_block_times(options):
    options.dtypes = (torch.float16,)
    rows = list(sections.block_times(options))
    assert {row['kernel'] for row in rows} == {
        'triton',
        'toeplitz',
        'toeplitz, gradient of the weight',
    }
    assert {row['ms'] for row in rows} == {'1.000'}


def test_graph_times(options, monkeypatch):
    class Graph:
        def replay(self):
            pass

    monkeypatch.setattr(torch.cuda, 'CUDAGraph', Graph)
    monkeypatch.setattr(torch.cuda, 'graph', lambda graph: contextlib.nullcontext())
    rows = list(sections.graph_times(options))
    assert [row['mode'] for row in rows] == ['inference', 'train']
    assert rows[0]['dcls, graph'] == rows[0]['7x7'] == '1.000'
