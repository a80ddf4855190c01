"""Run what needs Triton's interpreter, or needs it off, in a process of its own.

Triton reads TRITON_INTERPRET when it is imported, and other tests need it as it is.
"""

import functools
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_python(*arguments, interpret):
    """The output of Python, which must succeed."""
    result = _run(*arguments, interpret=interpret)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def _run(*arguments, interpret):
    return subprocess.run(
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


def run_in_interpreter(item):
    """Give a test the result that it has in a process with Triton's interpreter.

    The first test of a file runs all chosen ones of that file, in one process.
    """
    chosen = [other.nodeid for other in item.session.items if other.path == item.path]
    failure = _results(tuple(chosen))[item.nodeid]
    if failure is not None:
        pytest.fail(failure, pytrace=False)


@functools.cache
def _results(nodeids):
    """The failures of tests by their ids, None for those that passed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, 'report.xml')
        process = _run(
            *('-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist'),
            *(f'--junitxml={report}', *nodeids),
            interpret=True,
        )
        if not report.exists():
            pytest.fail(process.stdout + process.stderr, pytrace=False)
        cases = list(ElementTree.parse(report).getroot().iter('testcase'))
    assert len(cases) == len(nodeids), process.stdout + process.stderr
    # pytest runs tests in the order of the command line and reports them in that order.
    results = {}
    for nodeid, case in zip(nodeids, cases, strict=True):
        assert case.get('name') == nodeid.partition('::')[2], (nodeid, case.get('name'))
        problems = [child for child in case if child.tag in ('failure', 'error')]
        skipped = [child for child in case if child.tag == 'skipped']
        results[nodeid] = ''.join(p.text or '' for p in problems + skipped) or None
    return results
