"""Compile what a report launches in several processes, before anything is timed.

Compiling a Triton kernel takes a processor about a second; a report meets some hundred
of them, and finds those in Triton's cache that were compiled here. What cannot be
compiled is left to the report, which says so.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time

import torch

from mmdcls.ops import nchw_block
from mmdcls.ops.backends import BACKENDS, OPERATIONS, tuning
from mmdcls.ops.kernel import INTERPOLATIONS

from .contenders import DCLSLayer
from .layers import (
    KERNEL_COUNT,
    KERNEL_SIZE,
    PARITY_CASES,
    Settings,
    model_shapes,
)
from .section import Rows

_BACKENDS = ('triton', 'toeplitz')


def make_jobs(settings: Settings) -> list[list]:
    """Return what to run once: a kind, its data type, and what there is of it.

    Jobs of one kind and type share most kernels, and belong in one process.
    """
    cases = [(list(shape), list(size)) for shape, size in PARITY_CASES]
    cases += [
        (list(shape), [min(KERNEL_SIZE, 2 * s - 1) for s in shape[2:]])
        for _, shape in model_shapes(settings)
    ]
    names = [str(dtype).removeprefix('torch.') for dtype in settings.dtypes]
    kinds = itertools.product(_BACKENDS, OPERATIONS, names)
    jobs = [[backend, operation, name, cases] for backend, operation, name in kinds]
    jobs += [['block', 'nchw', name, cases] for name in names]
    return [*jobs, *(['construct', name, 'float32', []] for name in INTERPOLATIONS)]


def run_jobs(jobs: list[list], device: torch.device) -> None:
    """Run every case of some jobs once, whatever comes of it."""
    for kind, name, dtype, cases in jobs:
        if kind == 'construct':
            with contextlib.suppress(Exception):
                layer = DCLSLayer(16, KERNEL_SIZE, KERNEL_COUNT, name).to(device)
                layer.construct_kernel().sum().backward()
        for shape, size in cases:
            with contextlib.suppress(Exception):
                x = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
                if kind == 'block':
                    block = nchw_block.random_block(x, tuple(size), True)
                    nchw_block.run_step(name, *block, training=True)
                    continue
                padding = size[0] // 2, size[1] // 2
                if BACKENDS[kind].can_run(name, x, tuple(size), padding):
                    arguments = tuning.make_arguments(name, x, tuple(size), padding)
                    getattr(BACKENDS[kind], name)(*arguments)


def compile_in_parallel(settings: Settings, seconds: float = 60.0) -> Rows:
    """Compile in as many processes as there are processors, eight at most.

    Args:
        settings: The settings of the report.
        seconds: When to stop and go on with the report.
    """
    start = time.monotonic()
    jobs = make_jobs(settings)
    count = min(len(jobs), os.cpu_count() or 1, 8)
    command = [sys.executable, '-m', __name__, str(settings.device)]
    workers = []
    try:
        for part in range(count):
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
            workers.append(worker)
            assert worker.stdin is not None
            worker.stdin.write(json.dumps(jobs[part::count]))
            worker.stdin.close()
        for worker in workers:
            left = start + seconds - time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, left))
        stopped = sum(worker.poll() is None for worker in workers)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    yield {
        'processes': count,
        'jobs': len(jobs),
        'stopped': stopped,
        'seconds': round(time.monotonic() - start),
    }


if __name__ == '__main__':
    run_jobs(json.load(sys.stdin), torch.device(sys.argv[1]))
