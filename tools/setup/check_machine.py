"""Check, before anything is installed, that this machine can run the set-up.

Runs on whichever Python ``make`` was given, so it uses the standard library only and
syntax that Python 3.6 still parses.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile

SUPPORTED = [(3, 10), (3, 11), (3, 12)]

# Measured on Linux with the pinned stack: the virtual environment alone, and uv's
# cache alone. On one file system they share their files (hard links).
VENV_GB = 6
CACHE_GB = 6
SHARED_GB = 8

# Whatever MMCV's sources need from the compiler before they need PyTorch's headers.
PROBE_SOURCE = '#include <Python.h>\n#include <vector>\nint main() { return 0; }\n'


def check_python(version=sys.version_info[:3]):
    """Say what is wrong with this Python, or return None."""
    if tuple(version[:2]) not in SUPPORTED:
        found = find_supported_python()
        advice = (
            f'`make PYTHON={found}` uses the one that is installed here'
            if found
            else 'install one of these and name it, as in `make PYTHON=python3.11`'
        )
        return (
            f'wrong Python: {sys.executable} is Python '
            f'{".".join(map(str, version))}, mmdcls needs 3.10, 3.11 or 3.12; {advice}.'
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        return (
            f'{sys.executable} has no module {error.name}, which makes virtual '
            'environments: install it (Debian and Ubuntu: apt-get install '
            'python3-venv).'
        )
    return None


def find_supported_python():
    """Return the name of a supported Python on PATH that starts, or None."""
    for major, minor in reversed(SUPPORTED):
        name = f'python{major}.{minor}'
        if shutil.which(name) and run([name, '--version'])[0] == 0:
            return name
    return None


def check_compiler():
    """Say why no C++ program can be compiled against Python, or return None."""
    compiler = os.environ.get('CXX', 'c++')
    if shutil.which(compiler.split()[0]) is None:
        return (
            f'no C++ compiler: there is no `{compiler}` on PATH, and MMCV is compiled '
            'from source; install one (Debian and Ubuntu: apt-get install g++; '
            'Fedora: dnf install gcc-c++) or name yours in CXX.'
        )
    include = sysconfig.get_paths()['include']
    if not os.path.exists(os.path.join(include, 'Python.h')):
        return (
            f'no Python headers: {include}/Python.h is missing, and MMCV is compiled '
            'against it; install them (Debian and Ubuntu: apt-get install '
            'python3-dev).'
        )
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, 'probe.cpp')
        with open(source, 'w') as file:
            file.write(PROBE_SOURCE)
        code, output = run(
            [*compiler.split(), '-std=c++20', '-fsyntax-only', f'-I{include}', source]
        )
    if code != 0:
        first_line = (output.strip().splitlines() or ['no message'])[0]
        return (
            f'the C++ compiler `{compiler}` cannot compile a C++20 program '
            f'({first_line}); install a working one (GCC 10 or later) or name it in '
            'CXX.'
        )
    return None


def check_disk(venv_parent='.'):
    """Say which file system lacks room, or return None.

    Args:
        venv_parent: Where ``.venv`` is about to be made.
    """
    venv_parent = existing_parent(os.path.abspath(venv_parent))
    cache_home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    cache = os.environ.get('UV_CACHE_DIR') or os.path.join(cache_home, 'uv')
    cache_parent = existing_parent(os.path.abspath(cache))
    if os.stat(venv_parent).st_dev == os.stat(cache_parent).st_dev:
        wanted = [(venv_parent, SHARED_GB, "the virtual environment and uv's cache")]
    else:
        wanted = [
            (venv_parent, VENV_GB, 'the virtual environment'),
            (cache_parent, CACHE_GB, "uv's cache (UV_CACHE_DIR moves it)"),
        ]
    for folder, needed, what in wanted:
        free = shutil.disk_usage(folder).free / 1e9
        if free < needed:
            return (
                f'too little disk: {folder} has {free:.1f} GB free, and {what} '
                f'need {needed} GB.'
            )
    return None


def existing_parent(path):
    """Return the nearest folder at or above ``path`` that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def run(command):
    """Run a command; return its exit status and all that it printed."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,  # noqa: UP021  # Python 3.6 has no `text`
    )
    return done.returncode, done.stdout


def main():
    """Print each problem as one sentence; return the exit status."""
    problem = check_python()
    problems = [problem] if problem else [check_compiler(), check_disk()]
    problems = [problem for problem in problems if problem]
    for problem in problems:
        print(f'mmdcls set-up: {problem}', file=sys.stderr)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
