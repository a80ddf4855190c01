"""Run the command-line tools as a user does."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_tool(script, *arguments, **kwargs):
    """Run ``tools/<script>`` in a process of its own; output as text."""
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
    """Run a tool that must end in one sentence that contains ``message``.

    In this process, for speed: Python prints what SystemExit carries, if it is a text,
    to the standard error, and exits with code 1.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, 'argv', [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(ROOT / 'tools' / script), run_name='__main__')
    sentence = exit_info.value.code
    assert isinstance(sentence, str) and sentence.startswith('error: '), sentence
    assert message in sentence
    assert '\n' not in sentence
