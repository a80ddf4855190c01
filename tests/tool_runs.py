"""Run the command-line tools as a user does, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_tool(script, *arguments, **kwargs):
    """Run ``tools/<script>`` and return the finished process, output as text."""
    return subprocess.run(
        [sys.executable, f'tools/{script}', *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONWARNINGS': 'ignore'},
        capture_output=True,
        text=True,
        **kwargs,
    )


def assert_runs(script, *arguments):
    """Run a tool that must succeed; returns what it printed."""
    process = run_tool(script, *arguments)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    return process.stdout + process.stderr


def assert_refuses(message, script, *arguments):
    """Run a tool that must end in one sentence that contains ``message``."""
    process = run_tool(script, *arguments)
    assert process.returncode == 1, process.stderr[-4000:]
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith('error: ') and message in last, process.stderr[-4000:]
    assert 'Traceback' not in process.stderr
