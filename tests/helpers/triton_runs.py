"""Run what needs Triton's interpreter, or needs it off, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def run_python(*arguments, interpret):
    """The output of Python: Triton reads its variable when it is imported."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ
        | {
            'TRITON_INTERPRET': '1' if interpret else '0',
            'PYTHONPATH': os.pathsep.join(sys.path),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def run_cases(path):
    """Run a file of tests, on a GPU or in Triton's interpreter."""
    output = run_python(
        *('-m', 'pytest', '-q', '-p', 'no:cacheprovider', path),
        interpret=not torch.cuda.is_available(),
    )
    assert 'skipped' not in output
