"""What a row of the catalogue is, and how it is tried."""

import contextlib
import io
import os
import runpy
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from mmdcls.command_line import REPORT

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60
"""After which a tool is taken to hang."""


@dataclass(frozen=True)
class Case:
    """A bad input and the answer that is expected.

    Attributes:
        what: What is wrong.
        where: The tool, below ``tools/``, or a module to run.
        arguments: Its command line. ``{m}`` stands for the folder of the materials,
            ``{out}`` for an empty folder, which is made anew for every case.
        sentence: A part of the sentence that must come; ``{m}`` and ``{out}`` as above.
        environment: Environment variables that are set.
        theme: The module that the row stands in.
    """

    what: str
    where: str
    arguments: str
    sentence: str
    environment: dict = field(default_factory=dict)
    theme: str = ''

    @property
    def name(self) -> str:
        return f'{self.where}: {self.what}'


@dataclass(frozen=True)
class Answer:
    """What a tool did.

    Attributes:
        kind: ``'sentence'``, ``'traceback'``, ``'accepted'`` or ``'hung'``.
        text: What it said.
    """

    kind: str
    text: str


class _Hung(BaseException):
    pass


@contextlib.contextmanager
def _working_in(folder: Path):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def spread(faults, tools, each: int = 3):
    """Pair every fault with some of the tools, and every tool with some of the faults.

    Args:
        faults: The faults, in any order.
        tools: The tools, more than ``each``.
        each: The number of tools that a fault is tried on.
    """
    tools = list(tools)
    for i, fault in enumerate(faults):
        for k in range(each):
            yield fault, tools[(each * i + k) % len(tools)]


def try_case(case: Case, materials: Path, out: Path) -> Answer:
    """Run a tool as a user does, in this process."""
    places = {'m': materials, 'out': out}
    arguments = [word.format(**places) for word in case.arguments.split()]
    environment = {k: v.format(**places) for k, v in case.environment.items()}
    printed, errors = io.StringIO(), io.StringIO()
    with (
        _working_in(ROOT),
        mock.patch.dict('os.environ', environment),
        mock.patch.object(sys, 'argv', [case.where, *arguments]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(errors),
    ):
        kind, code = _run(case.where)
    text = errors.getvalue()
    if kind:
        return Answer(kind, text + code)
    return _judge(code, printed.getvalue(), text)


def _run(where: str) -> tuple[str, object]:
    """Run a tool; what it did, if that is clear, or its exit code."""

    def give_up(*_):
        raise _Hung

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    try:
        if where.endswith('.py'):
            runpy.run_path(str(ROOT / 'tools' / where), run_name='__main__')
        else:
            runpy.run_module(where, run_name='__main__')
    except SystemExit as end:
        return '', end.code
    except _Hung:
        return 'hung', ''
    except BaseException as error:
        return 'traceback', f'{type(error).__name__}: {error}'
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return '', 0


def _judge(code: object, printed: str, errors: str) -> Answer:
    if code == REPORT:
        return Answer('traceback', errors)
    if isinstance(code, str):
        # Python prints it to the standard error, and exits with code 1.
        whole = code.startswith('error: ') and '\n' not in code
        return Answer('sentence' if whole else 'traceback', errors + code)
    if code == 2 and ': error: ' in errors:
        return Answer('sentence', errors.rpartition(': error: ')[2])
    if code == 1 and 'Traceback' not in errors:  # check_dataset lists what it finds.
        return Answer('sentence', printed)
    return Answer('traceback' if code else 'accepted', printed + errors)
