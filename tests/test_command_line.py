"""What every tool has: an example, one sentence for users, a traceback for us."""

import argparse
import errno
import os
import runpy
import signal
import sys
import time

import pytest
from helpers.tool_runs import ROOT, assert_refuses

from mmdcls.command_line import (
    REPORT,
    ArgumentParser,
    number_within,
    whole_number,
)
from mmdcls.errors import ArgumentError, ConfigError, MmdclsError
from mmdcls.sentences import EXTRAS

TOOLS = sorted(
    str(path.relative_to(ROOT / 'tools'))
    for path in (ROOT / 'tools').rglob('*.py')
    if path.parent.name != 'setup'
)
CONFIG = 'configs/mini/convnext-dcls-atto_1xb32-mini_in1k-64px.py'


@pytest.fixture
def parser():
    parser = ArgumentParser('Does nothing.', 'CONFIG --batch-size 2', prog='tool')
    parser.add_argument('config')
    parser.add_argument('--batch-size')
    parser.add_argument('--clamp', action='store_true')
    return parser


def end(parser, error, *flags):
    """Have a tool end in an error; what it exits with."""
    parser.parse_args(['config.py', *flags])
    with pytest.raises(SystemExit) as exit_info, parser.one_sentence_errors():
        raise error
    return exit_info.value.code


@pytest.mark.parametrize('tool', TOOLS)
def test_every_tool_shows_an_example_and_can_debug(tool, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', [f'tools/{tool}', '--help'])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(f'tools/{tool}', run_name='__main__')
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert '--debug' in text
    assert f'\nexample:\n  python tools/{tool} ' in text


def test_a_user_error_is_one_sentence(parser, capsys):
    assert end(parser, ConfigError('It is\n  wrong.')) == 'error: It is wrong.'
    assert capsys.readouterr().err == ''


def test_debug_shows_its_traceback_too(parser, capsys):
    assert end(parser, ConfigError('Wrong.'), '--debug') == 'error: Wrong.'
    assert 'Traceback (most recent call last)' in capsys.readouterr().err


def test_a_wrapped_user_error_is_found(parser):
    # As mmengine's registries do.
    error = KeyError('class `X` in x.py: wrong')
    error.__cause__ = ArgumentError('kernel_count=0 is wrong.')
    assert end(parser, error) == 'error: kernel_count=0 is wrong.'


def test_a_bug_looks_like_one(parser, capsys):
    assert end(parser, KeyError('no_such_key')) == REPORT
    assert "KeyError: 'no_such_key'" in capsys.readouterr().err


def test_a_bug_deep_inside_a_tool_looks_like_one(monkeypatch, capsys):
    import mmdcls.apis.launch

    def fail(cfg):
        raise KeyError('no_such_key')

    monkeypatch.setattr(mmdcls.apis.launch, 'use_available_device', fail)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', ['train.py', CONFIG])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path('tools/train.py', run_name='__main__')
    assert exit_info.value.code == REPORT
    text = capsys.readouterr().err
    assert 'Traceback' in text and "KeyError: 'no_such_key'" in text


def test_a_user_error_in_a_tool_is_one_sentence():
    assert_refuses("The config 'none.py' does not exist.", 'train.py', 'none.py')


@pytest.mark.parametrize('number', [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_file_that_the_system_refuses_is_one_sentence(parser, capsys, number):
    error = OSError(number, os.strerror(number), 'results/report.json')
    assert end(parser, error) == (
        f"error: The system refuses 'results/report.json': {os.strerror(number)}."
    )
    assert capsys.readouterr().err == ''


def test_a_full_disk_has_no_file_name(parser):
    error = OSError(errno.ENOSPC, 'No space left on device')
    assert end(parser, error) == (
        'error: The system refuses a file: No space left on device.'
    )


@pytest.mark.parametrize(
    'tool',
    [
        f'analysis_tools/get_flops.py {CONFIG}',
        f'analysis_tools/benchmark.py {CONFIG} {CONFIG}',
        f'analysis_tools/draw_predictions.py {CONFIG} a.pth a.png',
        f'check_dataset.py {CONFIG}',
    ],
)
def test_a_flag_without_effect_is_not_taken(tool, capsys, monkeypatch):
    script, *arguments = tool.split()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', [script, *arguments, '--launcher=none'])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(f'tools/{script}', run_name='__main__')
    assert exit_info.value.code == 2
    assert 'unrecognized arguments: --launcher=none' in capsys.readouterr().err


def test_a_folder_in_the_place_of_a_report_is_one_sentence(tmp_path):
    assert_refuses(
        f"The system refuses '{tmp_path}': Is a directory.",
        *('check_dataset.py', CONFIG, '--splits', 'val', '--out', tmp_path),
    )


def test_parameters_become_flags(parser):
    error = ArgumentError('`batch_size`=0 and `other`=1, `clamp`: batch_size stays.')
    assert end(parser, error) == (
        'error: --batch-size=0 and other=1, --clamp: batch_size stays.'
    )


@pytest.mark.parametrize(
    'extra, module', [(extra, m) for extra, names in EXTRAS.items() for m in names]
)
def test_the_extra_of_a_missing_package_is_named(parser, extra, module):
    error = ModuleNotFoundError('No module', name=f'{module}.part')
    assert f"pip install 'mmdcls[{extra}]'" in end(parser, error)


def test_the_extras_are_those_of_setup():
    setup = runpy.run_path(str(ROOT / 'setup.py'), run_name='setup')
    assert set(EXTRAS) <= set(setup['EXTRAS_REQUIRE'])


def test_every_error_of_the_package_is_one_that_a_user_can_mend():
    import importlib
    import pkgutil

    import mmdcls

    skipped = ('triton', 'toeplitz_kernels', 'fused_construction_kernels', '__main__')
    for module in pkgutil.walk_packages(mmdcls.__path__, 'mmdcls.'):
        if not any(name in module.name for name in skipped):
            importlib.import_module(module.name)
    # `read_checkpoint` turns these two into a CheckpointError.
    always_caught = ('DeclaredSizeError', 'ForeignNameError')
    own = [
        error
        for error in _subclasses(Exception)
        if error.__module__.startswith('mmdcls.')
        and error.__name__ not in always_caught
    ]
    assert len(own) > 8
    assert [error for error in own if not issubclass(error, MmdclsError)] == []


def _subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from _subclasses(sub)


@pytest.mark.parametrize(
    'number, code, word', [(2, 130, 'Interrupted.'), (15, 143, 'Terminated.')]
)
def test_signals_end_a_tool_without_a_traceback(parser, capsys, number, code, word):
    before = signal.getsignal(signal.SIGTERM)
    cleared = []
    with pytest.raises(SystemExit) as exit_info, parser.one_sentence_errors():
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        finally:
            cleared.append(True)
    assert exit_info.value.code == code and cleared
    assert capsys.readouterr().err == f'{word}\n'
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize('text', ['0', '-1', '1.5', 'many', 'nan', ''])
def test_numbers_out_of_range_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match='of at least 1, got'):
        whole_number(1)(text)


@pytest.mark.parametrize('text', ['-0.1', '1.1', 'nan', 'inf', 'many'])
def test_numbers_outside_of_a_range_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match='from 0 to 1, got'):
        number_within(0, 1)(text)
