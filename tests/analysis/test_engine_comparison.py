"""Every engine trains what a plain run does; FSDP and DDP in two processes."""

import dataclasses

import pytest
import torch
from helpers.versions import needs_compile

from mmdcls.analysis.engine_comparison import compare_engines, to_markdown
from mmdcls.analysis.engine_runs import ENGINES, REFERENCES, Engine
from mmdcls.checkpoints import read_checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.is_available(), reason='for machines without GPU'),
]


# What the tool's table has besides takes long, or is tested as well by another row.
LEFT_OUT = (
    'torch.compile',
    'DDP, with_cp',
    'FSDP, SHARD_GRAD_OP',
    'FSDP, a frozen stage',
)
TRAINED = [engine for engine in ENGINES if engine.name not in LEFT_OUT]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('engines')


@pytest.fixture(scope='module')
def rows(folder):
    return compare_engines(folder, TRAINED)


@pytest.mark.parametrize('name', [engine.name for engine in TRAINED])
def test_an_engine_trains_what_a_plain_run_does(rows, name):
    (row,) = (row for row in rows if row['name'] == name)
    if not row['ran']:
        pytest.skip(f'{row["requires"]} is not installed')
    assert row['weights'] <= row['tolerance']
    assert row['positions'] <= row['tolerance']
    assert row['equal']
    assert f'| {name} |' in to_markdown(rows)


def test_the_plain_run_clamps_and_its_positions_move(rows, folder):
    """Otherwise the comparison would say nothing of either."""
    start = read_checkpoint(str(folder / 'plain/start.pth'))['state_dict']
    end = read_checkpoint(str(folder / 'plain/iter_2.pth'))['state_dict']
    names = [name for name in start if name.endswith('positions')]
    assert any((end[name].abs() == 1).any() for name in names)
    for name in names:
        assert (end[name] - start[name]).abs().max() > 1e-3


def test_a_difference_is_seen(folder, rows):
    """Positions at the rate of weights are no rounding error."""
    paramwise = {'optim_wrapper.paramwise_cfg': dict(positions_lr_mult=1.0)}
    engine = Engine('slow positions', paramwise)
    (row,) = compare_engines(folder / 'other', [engine])
    assert not row['equal']
    assert row['positions'] > 0.1
    assert '**exceeded**' in to_markdown([row])


@needs_compile
def test_compiled_training(tmp_path):
    """By the backend that takes seconds: hooks and optimizer are traced by any."""
    (engine,) = (engine for engine in ENGINES if engine.name == 'torch.compile')
    settings = {'compile': dict(backend='eager')}
    (row,) = compare_engines(tmp_path, [dataclasses.replace(engine, settings=settings)])
    assert row['equal']


def test_references_are_plain():
    assert all(engine.processes == 1 for engine in REFERENCES)
    assert {engine.reference for engine in ENGINES} == {
        *(engine.name for engine in REFERENCES),
        'average of plain',
    }
