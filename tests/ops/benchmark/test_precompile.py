"""Compiling beforehand: every kernel of the report is launched, in any process."""

import json

import pytest
import torch
from helpers.versions import needs_triton

from mmdcls.ops import nchw_block
from mmdcls.ops.backends import BACKENDS, OPERATIONS
from mmdcls.ops.benchmark import layers, precompile
from mmdcls.ops.kernel import INTERPOLATIONS

SETTINGS = layers.Settings(torch.device('cpu'), torch.float32, (1,), stages=((2, 3),))


def test_jobs_are_all_that_the_report_launches():
    jobs = precompile.make_jobs(SETTINGS)
    kinds = {(kind, name) for kind, name, _, _ in jobs}
    assert kinds == {
        *((backend, name) for backend in ('triton', 'toeplitz') for name in OPERATIONS),
        *(('construct', name) for name in INTERPOLATIONS),
        ('block', 'nchw'),
    }
    cases = jobs[0][3]
    assert ([2, 8, 56, 56], [17, 17]) in cases and ([1, 2, 200, 320], [17, 17]) in cases
    assert json.loads(json.dumps(jobs))[0][3][0] == [[2, 8, 56, 56], [17, 17]]


@needs_triton
@pytest.mark.triton
def test_jobs_run_whatever_fails(monkeypatch):
    ran = []
    for backend in ('triton', 'toeplitz'):
        for name in OPERATIONS:

            def run(*arguments, of=(backend, name)):
                ran.append(of)
                raise RuntimeError('out of resource')

            monkeypatch.setattr(BACKENDS[backend], name, run)
    monkeypatch.setattr(
        nchw_block, 'run_step', lambda name, *block, training: ran.append(name)
    )
    monkeypatch.setattr(layers, 'MODELS', {'tiny': (1, 3, 4)})
    monkeypatch.setattr(precompile, 'PARITY_CASES', ())
    monkeypatch.setattr(precompile, 'INTERPOLATIONS', ())
    jobs = precompile.make_jobs(SETTINGS)
    precompile.run_jobs(jobs, torch.device('cpu'))
    assert len(ran) == len(set(ran)) == 2 * 3 + 1


def test_processes_take_their_part_and_end(monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setattr(precompile.os, 'cpu_count', lambda: 1)
    monkeypatch.setattr(precompile, 'PARITY_CASES', ())
    monkeypatch.setattr(precompile, 'INTERPOLATIONS', ())
    (row,) = precompile.compile_in_parallel(SETTINGS)
    assert (row['processes'], row['stopped']) == (1, 0)
    (row,) = precompile.compile_in_parallel(SETTINGS, seconds=0)
    assert row['stopped'] == 1
