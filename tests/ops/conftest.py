"""Tests of Triton's kernels: on a GPU, or in Triton's interpreter."""

import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run tests that are marked ``triton`` in a process with Triton's interpreter."""
    if pyfuncitem.get_closest_marker('triton') is None:
        return None
    import torch
    from helpers.triton_runs import run_in_interpreter

    if os.environ.get('TRITON_INTERPRET') == '1' or torch.cuda.is_available():
        return None
    run_in_interpreter(pyfuncitem)
    return True
