"""The set-up: pins fit the ranges, failures are explained, builds serve mim."""

import ast
import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CHECK_MACHINE = ROOT / 'tools' / 'setup' / 'check_machine.py'
REQUIREMENT_FILES = sorted(
    path
    for path in (ROOT / 'requirements').rglob('*.txt')
    if path.stem != 'constraints'
)
SETUP = runpy.run_path(str(ROOT / 'setup.py'))


def read_requirements(path):
    lines = path.read_text().splitlines()
    return [Requirement(line) for line in lines if line and line[0] not in '#-']


def read_pins():
    pins = {}
    for pin in read_requirements(ROOT / 'requirements' / 'constraints.txt'):
        (specifier,) = pin.specifier
        assert specifier.operator == '==', pin
        pins.setdefault(canonicalize_name(pin.name), []).append(specifier.version)
    return pins


def write_program(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


# Pins and ranges


@pytest.mark.parametrize('path', REQUIREMENT_FILES, ids=str)
def test_every_requirement_is_pinned(path):
    assert re.search(r'^-c (../)?constraints.txt$', path.read_text(), re.MULTILINE)
    pins = read_pins()
    for requirement in read_requirements(path):
        if path.parent.name == 'onedl':
            assert re.fullmatch(r'==[\w.]+', str(requirement.specifier))
            continue
        versions = pins[canonicalize_name(requirement.name)]
        for version in versions:
            assert requirement.specifier.contains(version), (requirement, version)


def test_the_pins_of_onedl_lie_in_the_ranges_of_setup():
    pins = {
        pin.name: pin.specifier
        for path in (ROOT / 'requirements/onedl').iterdir()
        for pin in read_requirements(path)
    }
    for requirement in map(Requirement, SETUP['EXTRAS_REQUIRE']['onedl']):
        if requirement.name.startswith('onedl'):
            (pin,) = pins[requirement.name]
            assert requirement.specifier.contains(pin.version), requirement


@pytest.mark.parametrize(
    'extra', ['install_requires', *sorted(set(SETUP['EXTRAS_REQUIRE']) - {'onedl'})]
)
def test_pins_lie_in_the_ranges_of_setup(extra):
    extras = SETUP['EXTRAS_REQUIRE'] | {'install_requires': SETUP['INSTALL_REQUIRES']}
    pins = read_pins()
    for requirement in map(Requirement, extras[extra]):
        for version in pins[canonicalize_name(requirement.name)]:
            assert requirement.specifier.contains(version), (requirement, version)


def test_no_openmmlab_line_is_forced():
    names = [Requirement(line).name for line in SETUP['INSTALL_REQUIRES']]
    assert not [name for name in names if name.startswith(('mm', 'onedl'))]


def test_one_opencv():
    assert [name for name in read_pins() if 'opencv' in name] == ['opencv-python']


@pytest.mark.parametrize(
    'path',
    [ROOT / 'Makefile', *ROOT.glob('requirements/**/*.txt')],
    ids=str,
)
def test_no_registry_is_named(path):
    assert '://' not in path.read_text()


# The checks of the machine


@pytest.fixture
def check_machine():
    return runpy.run_path(str(CHECK_MACHINE))


def run_check_machine(tmp_path, **environment):
    return subprocess.run(
        [sys.executable, CHECK_MACHINE],
        env={'HOME': str(tmp_path), 'PATH': str(tmp_path / 'bin'), **environment},
        capture_output=True,
        text=True,
    )


def test_check_machine_parses_on_old_pythons():
    ast.parse(CHECK_MACHINE.read_text(), feature_version=(3, 6))


@pytest.mark.parametrize('version', [(3, 10, 0), (3, 11, 7), (3, 12, 9)], ids=str)
def test_supported_python(check_machine, version):
    assert check_machine['check_python'](version) is None


@pytest.mark.parametrize('version', [(3, 6, 15), (3, 9, 1), (3, 13, 0)], ids=str)
def test_wrong_python_names_what_was_found(
    check_machine, version, tmp_path, monkeypatch
):
    monkeypatch.setenv('PATH', str(tmp_path))
    problem = check_machine['check_python'](version)
    assert f'is Python {".".join(map(str, version))}, mmdcls needs 3.10' in problem


def test_wrong_python_names_a_right_one(check_machine, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    write_program(tmp_path / 'python3.12', 'exit 127')  # on PATH, but does not start
    write_program(tmp_path / 'python3.11', 'exit 0')
    problem = check_machine['check_python']((3, 13, 0))
    assert '`make PYTHON=python3.11`' in problem


def test_no_compiler(tmp_path):
    done = run_check_machine(tmp_path)
    assert done.returncode == 1
    assert 'no C++ compiler: there is no `c++` on PATH' in done.stderr
    assert 'apt-get install g++' in done.stderr


def test_named_compiler_is_missing(tmp_path):
    done = run_check_machine(tmp_path, CXX='ccache no-such-compiler')
    assert done.returncode == 1
    assert 'there is no `ccache no-such-compiler` on PATH' in done.stderr


def test_broken_compiler_shows_its_message(tmp_path):
    write_program(tmp_path / 'bin' / 'c++', 'echo "cannot execute cc1plus"; exit 1')
    done = run_check_machine(tmp_path)
    assert done.returncode == 1
    assert (
        '`c++` cannot compile a C++20 program (cannot execute cc1plus)' in done.stderr
    )


def test_no_python_headers(check_machine, tmp_path, monkeypatch):
    write_program(tmp_path / 'c++', 'exit 0')
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr('sysconfig.get_paths', lambda: {'include': '/nowhere'})
    problem = check_machine['check_compiler']()
    assert '/nowhere/Python.h is missing' in problem


@pytest.mark.parametrize('free_gb', [0.2, 7.9])
def test_too_little_disk(check_machine, free_gb, tmp_path, monkeypatch):
    usage = namedtuple('usage', 'free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(free_gb * 1e9))
    monkeypatch.setenv('UV_CACHE_DIR', str(tmp_path / 'not' / 'yet' / 'there'))
    problem = check_machine['check_disk'](tmp_path)
    assert problem.startswith(f'too little disk: {tmp_path} has {free_gb} GB free')
    assert f'need {check_machine["SHARED_GB"]} GB' in problem


def test_enough_disk(check_machine, tmp_path, monkeypatch):
    usage = namedtuple('usage', 'free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(50e9))
    assert check_machine['check_disk'](tmp_path) is None


# The Makefile, with programs that only write down how they were called


@pytest.fixture
def clone(tmp_path):
    """Copy what `make env` needs; `python` and `uv` there are fakes, see calls.txt."""
    for name in ('Makefile', 'setup.py', 'pyproject.toml', 'MANIFEST.in'):
        shutil.copy(ROOT / name, tmp_path)
    for name in ('requirements', 'tools/setup', 'mmdcls'):
        ignore = shutil.ignore_patterns('.mim', '__pycache__')
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    fake = 'echo "$(basename $0) $*" >> calls.txt'
    write_program(tmp_path / 'fake' / 'uv', fake)
    write_program(tmp_path / 'fake' / 'python', fake)
    # The Python that `make` is given: its `-m venv` fills .venv/bin with the fakes.
    write_program(
        tmp_path / 'fake' / 'python3',
        'case "$*" in "-m venv .venv") mkdir -p .venv && cp -r fake .venv/bin;; esac',
    )
    return tmp_path


def make(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith('MAKE')}
    return subprocess.run(
        ['make', *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('python', ['no-such-python', 'fake/does-not-start'])
def test_make_without_python(clone, python):
    write_program(clone / 'fake' / 'does-not-start', 'exit 127')
    done = make(clone, 'env', f'PYTHON={python}')
    assert done.returncode != 0
    assert f'no Python: `{python}` is not on PATH or does not start' in done.stderr
    assert not (clone / '.venv').exists()


def test_make_with_wrong_python(clone):
    script = 'case "$1" in *check*) echo "wrong Python" >&2; exit 1;; esac'
    write_program(clone / 'fake' / 'python3', script)
    done = make(clone, 'env', 'PYTHON=fake/python3')
    assert done.returncode != 0
    assert 'wrong Python' in done.stderr
    assert not (clone / '.venv').exists()


@pytest.mark.parametrize(
    ('failing_call', 'step', 'message'),
    [
        ('*pip?install?--quiet*', '1/5', 'could not install uv with pip'),
        ('*build.txt*', '2/5', 'could not install PyTorch'),
        ('*mminstall.txt*', '3/5', 'could not install the OpenMMLab packages'),
        ('*install_mmcv.py*', '3/5', 'could not compile or install MMCV'),
        ('*tests.txt*', '4/5', 'could not install the packages'),
        ('*--editable*', '5/5', 'could not install mmdcls'),
    ],
)
def test_make_says_which_step_failed(clone, failing_call, step, message):
    script = f'echo "$*" >> calls.txt; case "$*" in {failing_call}) exit 1;; esac'
    for name in ('python', 'uv'):
        write_program(clone / 'fake' / name, script)
    done = make(clone, 'env', 'PYTHON=fake/python3')
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1].startswith(f'==> set-up {step}')
    assert f'mmdcls set-up: {message}' in done.stderr


def test_second_make_does_nothing(clone):
    assert make(clone, 'env', 'PYTHON=fake/python3').returncode == 0
    calls = (clone / 'calls.txt').read_text()
    assert 'uv pip install --python .venv/bin/python -r requirements/build.txt' in calls
    assert make(clone, 'env', 'PYTHON=fake/python3').returncode == 0
    assert (clone / 'calls.txt').read_text() == calls


def test_changed_requirements_repeat_their_own_step(clone):
    assert make(clone, 'env', 'PYTHON=fake/python3').returncode == 0
    (clone / 'calls.txt').unlink()
    stamp = (clone / '.venv' / '.stamps' / 'mmdcls').stat().st_mtime
    os.utime(clone / 'requirements' / 'tests.txt', (stamp + 1, stamp + 1))
    assert make(clone, 'env', 'PYTHON=fake/python3').returncode == 0
    calls = (clone / 'calls.txt').read_text()
    assert 'tests.txt' in calls
    assert 'build.txt' not in calls
    assert 'install_mmcv' not in calls


def test_help_lists_every_target():
    makefile = (ROOT / 'Makefile').read_text()
    targets = re.search(r'^\.PHONY: (.*)$', makefile, re.MULTILINE).group(1).split()
    listed = [line.split()[1] for line in make(ROOT).stdout.splitlines()]
    assert sorted(listed) == sorted(targets)


@pytest.mark.parametrize('status', [0, 2, 3])
def test_ci_ends_on_the_closing_line_of_pytest(status, tmp_path):
    closing = '====== 1 passed, 2 skipped in 93.14s (0:01:33) ======'
    # Either command may fail: the first one only then ends the run.
    failing = f'echo "{closing}"; echo "Error" >&2; exit {status}'
    passing = 'echo "== 7 passed in 1.00s (0:00:01) =="'
    torch, rest = (failing, 'exit 9') if status == 3 else (passing, failing)
    script = f'case "$*" in test-torch) {torch};; test) {rest};; *) exit 8;; esac'
    write_program(tmp_path / 'make', script.replace('echo "Error" >&2; exit 0', ':'))
    done = subprocess.run(
        ['bash', ROOT / '.ci' / 'run'],
        env={**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert done.stdout.splitlines()[-1] == closing


# MMCV


@pytest.fixture
def install_mmcv(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'setup'))
    import install_mmcv

    return install_mmcv


PACKAGES = [
    ('mmcv', '2.1.0', ROOT / 'requirements/mmcv.txt'),
    ('onedl-mmcv', '2.3.6', ROOT / 'requirements/onedl/mmcv.txt'),
]


@pytest.mark.parametrize('package, version, path', PACKAGES)
def test_the_pinned_mmcv_is_found(install_mmcv, package, version, path):
    assert install_mmcv.pinned_version(path.read_text()) == (package, version)


def test_wheel_folder_tells_builds_apart(install_mmcv, monkeypatch):
    def folders():
        return {
            install_mmcv.wheel_folder(package, version, device)
            for package in ('mmcv', 'onedl-mmcv')
            for version in ('2.1.0', '2.1.1')
            for device in ('cpu', 'cuda')
        }

    before = folders()
    monkeypatch.setattr('torch.__version__', '1.0.0')
    assert len(before | folders()) == 16


@pytest.mark.parametrize(
    'package, page',
    [
        ('mmcv', 'https://download.openmmlab.com/mmcv/dist/cpu/torch2.1/index.html'),
        ('onedl-mmcv', 'https://mmwheels.onedl.ai/cpu-torch210/simple/onedl-mmcv/'),
    ],
)
def test_ready_wheels_are_those_of_this_torch(install_mmcv, monkeypatch, package, page):
    monkeypatch.setattr('torch.__version__', '2.1.2+cu121')
    monkeypatch.setattr('torch.version.cuda', '12.1')
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert install_mmcv.ready_wheels(package) == page
    monkeypatch.setenv('FORCE_CUDA', '1')
    assert install_mmcv.ready_wheels(package) == page.replace('cpu', 'cu121')
    monkeypatch.setenv('MMCV_WHEELS', '/mnt/wheels')
    assert install_mmcv.ready_wheels(package) == '/mnt/wheels'


def make_wheel(folder, name):
    """A wheel without content that pip takes for MMCV."""
    folder.mkdir()
    info = 'mmcv-2.1.0.dist-info'
    with zipfile.ZipFile(folder / name, 'w') as wheel:
        wheel.writestr(f'{info}/METADATA', 'Name: mmcv\nVersion: 2.1.0\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', '')
    return folder


def test_a_ready_wheel_is_downloaded(install_mmcv, monkeypatch, tmp_path):
    wheels = make_wheel(tmp_path / 'wheels', 'mmcv-2.1.0-py3-none-any.whl')
    monkeypatch.setenv('MMCV_WHEELS', str(wheels))
    assert install_mmcv.download_wheel('mmcv', '2.1.0', tmp_path / 'out') is None
    assert os.listdir(tmp_path / 'out') == os.listdir(wheels)


def test_a_wheel_for_another_python_is_none(install_mmcv, monkeypatch, tmp_path):
    wheels = make_wheel(tmp_path / 'wheels', 'mmcv-2.1.0-cp38-cp38-linux_x86_64.whl')
    monkeypatch.setenv('MMCV_WHEELS', str(wheels))
    reason = install_mmcv.download_wheel('mmcv', '2.1.0', tmp_path / 'out')
    assert reason == f'{wheels} has none that fits this machine'


def test_failed_build_leaves_no_wheel_folder(install_mmcv, monkeypatch, tmp_path):
    write_program(tmp_path / 'python', 'exit 1')
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'python'))
    folder = tmp_path / 'mmdcls' / 'mmcv'
    with pytest.raises(subprocess.CalledProcessError):
        install_mmcv.build_wheel('mmcv', '2.1.0', 'cpu', folder)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize(
    ('kept', 'ready', 'results', 'calls', 'status'),
    [
        (False, False, [True], 'build install', 0),
        (False, False, [False], 'build install', 1),
        (False, True, [True], 'install', 0),
        (False, True, [False, True], 'install build install', 0),
        (True, True, [True], 'install', 0),
        (True, False, [False, True], 'install build install', 0),
        (True, True, [False, True], 'install install', 0),
        (True, True, [False, False, False], 'install install build install', 1),
    ],
    ids=[
        'first time',
        'first time, broken',
        'ready',
        'ready but broken',
        'kept',
        'kept but broken',
        'kept but broken, then ready',
        'never works',
    ],
)
@pytest.mark.parametrize('package, version, path', PACKAGES)
def test_mmcv_is_compiled_only_when_needed(
    install_mmcv,
    monkeypatch,
    capsys,
    package,
    version,
    path,
    kept,
    ready,
    results,
    calls,
    status,
):
    done = []
    results = iter(results)
    reason = None if ready else 'the page has none'
    monkeypatch.setattr(install_mmcv.metadata, 'version', lambda _: 'another')
    monkeypatch.setattr(install_mmcv, 'download_wheel', lambda *_: reason)
    monkeypatch.setattr(install_mmcv, 'build_wheel', lambda *_: done.append('build'))
    monkeypatch.setattr(install_mmcv, 'install', lambda _: done.append('install'))
    monkeypatch.setattr(install_mmcv, 'works', lambda: next(results))
    if kept:
        device = install_mmcv.target_device()
        install_mmcv.wheel_folder(package, version, device).mkdir(parents=True)
    assert install_mmcv.main(path) == status
    assert done == calls.split()
    said = capsys.readouterr().out
    why = 'the operators of the ready wheel do not run' if ready else reason
    assert (why in said) == ('build' in done)


def test_the_second_of_two_set_ups_waits_for_the_first(install_mmcv, tmp_path):
    folder = tmp_path / 'mmdcls' / 'mmcv'
    go_read, go = os.pipe()
    told_read, told = os.pipe()

    def first():
        with install_mmcv.one_at_a_time(folder):
            os.write(told, b'holding\n')
            os.read(go_read, 1)
            folder.mkdir()

    def second():
        sys.stdout = os.fdopen(told, 'w', buffering=1)
        with install_mmcv.one_at_a_time(folder):
            print('built' if folder.is_dir() else 'missing')

    with os.fdopen(told_read) as lines:
        one = fork(first)
        assert lines.readline() == 'holding\n'
        two = fork(second)
        assert lines.readline().startswith(f'Waiting for process {one} on ')
        os.write(go, b'1')
        assert lines.readline() == 'built\n'
    for process in (one, two):
        assert os.waitpid(process, 0)[1] == 0


def fork(run):
    """Run a function in a process of its own; returns its id."""
    process = os.fork()
    if process == 0:
        try:
            run()
        finally:
            os._exit(sys.exc_info()[0] is not None)
    return process
