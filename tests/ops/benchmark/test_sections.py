"""Sections of the complete report that need a GPU."""

import contextlib
from dataclasses import replace

import pytest
import torch
from helpers.versions import needs_triton

from mmdcls.ops import nchw_block
from mmdcls.ops.backends import tuning
from mmdcls.ops.benchmark import layers, sections

pytestmark = [needs_triton, pytest.mark.triton]


@pytest.fixture
def settings(monkeypatch):
    """Tiny maps and kernels, and nothing is really timed."""

    def time_on_gpu(function):
        function()
        return 1.0

    monkeypatch.setattr(tuning, 'time_on_gpu', time_on_gpu)
    monkeypatch.setattr(layers, 'KERNEL_SIZE', 3)
    monkeypatch.setattr(layers, 'MODELS', {'tiny': (1, 3, 4)})
    return layers.Settings(
        torch.device('cpu'),
        torch.float32,
        batch_sizes=(1,),
        stages=((2, 3),),
        dtypes=(torch.float16, torch.float32),
    )


def test_parity(settings, monkeypatch):
    monkeypatch.setattr(sections, 'PARITY_CASES', (((1, 2, 3, 4), (3, 3)),))
    rows = list(sections.parity(settings))
    tested = {row['backend'] for row in rows if row['result'] == 'passed'}
    assert tested == {'aten', 'triton', 'toeplitz'}
    assert all('FAILED' not in row['result'] for row in rows)


def test_block_parity(settings, monkeypatch):
    assert {row['result'] for row in sections.block_parity(settings)} == {'passed'}
    right = nchw_block.residual_to_nchw
    monkeypatch.setattr(
        nchw_block, 'residual_to_nchw', lambda *maps: 1.1 * right(*maps)
    )
    assert {row['result'] for row in sections.block_parity(settings)} == {'FAILED'}


def test_format_times(settings):
    # With two channels alone a normalisation leaves but signs.
    settings = replace(settings, stages=((6, 3),))
    rows = list(sections.format_times(settings))
    assert [row['mode'] for row in rows] == ['inference', 'train'] * 2
    for row in rows:
        assert row['channels_last'] == row['nchw'] == '1.000'
        assert row['auto'] == 'channels_last'


def test_backend_times(settings):
    rows = list(sections.backend_times(settings))
    assert len(rows) == 2 * 2 * 3
    for row in rows:
        assert row['aten'] == row['triton'] == row['toeplitz'] == '1.000'
        assert row['auto'] == 'aten'


def test_block_times(settings):
    settings = replace(settings, dtypes=(torch.float16,))
    rows = list(sections.block_times(settings))
    assert {row['kernel'] for row in rows} == {
        'triton',
        'toeplitz',
        'toeplitz, gradient of the weight',
    }
    assert {row['ms'] for row in rows} == {'1.000'}


def test_graph_times(settings, monkeypatch):
    class Graph:
        def replay(self):
            pass

    monkeypatch.setattr(torch.cuda, 'CUDAGraph', Graph)
    monkeypatch.setattr(torch.cuda, 'graph', lambda graph: contextlib.nullcontext())
    rows = list(sections.graph_times(settings))
    assert [row['mode'] for row in rows] == ['inference', 'train']
    assert rows[0]['dcls, graph'] == rows[0]['7x7'] == '1.000'
