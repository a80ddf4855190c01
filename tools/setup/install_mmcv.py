"""Install MMCV with operators that run here: a ready wheel, or one compiled once.

Wheels are published for some versions of PyTorch and CUDA only. Where none fits, MMCV
is compiled, and the wheel is kept: pip's and uv's caches know a wheel by MMCV's version
alone, and would hand out one that was compiled against another PyTorch.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch
from torch.utils.cpp_extension import CUDA_HOME

try:
    import fcntl
except ImportError:  # Windows, where set-ups do not wait for each other.
    fcntl = None

# Pages of links to the wheels for a device (`cpu`, `cu121`) and a version of PyTorch.
READY_WHEELS = {
    'mmcv': 'https://download.openmmlab.com/mmcv/dist/{device}/torch{major}.{minor}/'
    'index.html',
    'onedl-mmcv': 'https://mmwheels.onedl.ai/{device}-torch{major}{minor}0/simple/'
    'onedl-mmcv/',
}


def pinned_version(requirements: str) -> tuple[str, str]:
    """Return the package and the version that the text of a requirements file pins."""
    return re.search(r'^((?:onedl-)?mmcv)==(\S+)$', requirements, re.MULTILINE).groups()


def target_device() -> str:
    """Return what MMCV is compiled for: ``'cuda'`` or ``'cpu'``."""
    if os.environ.get('FORCE_CUDA') == '1':
        return 'cuda'
    if torch.cuda.is_available() and CUDA_HOME is None:
        print(
            'This machine has a GPU but no nvcc (the CUDA toolkit): where MMCV must be '
            'compiled, it is for the CPU, and detection will not run on the GPU.'
        )
    return 'cuda' if torch.cuda.is_available() and CUDA_HOME else 'cpu'


def ready_wheels(package: str) -> str:
    """Return the page of the ready wheels for this PyTorch and device.

    ``MMCV_WHEELS`` names another page, or a folder.
    """
    on_gpu = torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1'
    cuda = (torch.version.cuda or '').replace('.', '')
    major, minor = torch.__version__.split('.')[:2]
    return os.environ.get('MMCV_WHEELS') or READY_WHEELS[package].format(
        device=f'cu{cuda}' if on_gpu and cuda else 'cpu', major=major, minor=minor
    )


def wheel_folder(package: str, version: str, device: str) -> Path:
    """Return the folder that keeps the compiled wheel for this machine."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    python = sys.implementation.cache_tag
    name = f'{package}-{version}-torch{torch.__version__}-{python}-{device}'
    return cache / 'mmdcls' / name


def download_wheel(package: str, version: str, folder: Path) -> str | None:
    """Download a ready wheel into ``folder``; return why there is none, or None."""
    page = ready_wheels(package)
    pip = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps']
    # Where the page cannot be reached, compiling is near: no use to try it for minutes.
    pip += ['--no-cache-dir', '--retries=0', '--timeout=15']
    pip += ['--no-index', f'--find-links={page}', '--only-binary=:all:']
    done = subprocess.run(
        [*pip, f'--dest={folder}', f'{package}=={version}'],
        capture_output=True,
        text=True,
    )
    return None if done.returncode == 0 else f'{page} has none that fits this machine'


def build_wheel(package: str, version: str, device: str, folder: Path) -> None:
    """Compile MMCV and put its wheel into ``folder``, which appears when it is done."""
    environment = {
        # Debug symbols take half of the compiler's time.
        'CFLAGS': '-g0',
        'CXXFLAGS': '-g0',
        'MAX_JOBS': str(len(os.sched_getaffinity(0))),
        **os.environ,
        'MMCV_WITH_OPS': '1',
        'FORCE_CUDA': '1' if device == 'cuda' else '0',
    }
    if device == 'cpu':
        # MMCV also compiles for CUDA wherever PyTorch sees a GPU.
        environment['CUDA_VISIBLE_DEVICES'] = ''
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        wheels = Path(temporary) / 'wheels'
        pip = [sys.executable, '-m', 'pip', 'wheel', '--no-cache-dir', '--no-deps']
        pip += ['--no-build-isolation', f'--no-binary={package}']
        subprocess.run(
            [*pip, f'--wheel-dir={wheels}', f'{package}=={version}'],
            env=environment,
            check=True,
        )
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(wheels, folder)


def install(folder: Path) -> None:
    """Install the wheel in ``folder``; what it needs came with mminstall.txt."""
    (wheel,) = folder.glob('*mmcv-*.whl')
    uv = [Path(sys.executable).with_name('uv'), 'pip', 'install', '--no-deps']
    subprocess.run([*uv, '--python', sys.executable, '--reinstall', wheel], check=True)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other set-up compiles the wheel of ``folder``.

    The system lets go of the lock when a process ends, however it ends.
    """
    if fcntl is None:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f'{folder.name}.lock'), 'a+') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            print(f'Waiting for process {file.read()}, which compiles {folder.name}.')
            fcntl.lockf(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f'{os.getpid()} on {socket.gethostname()}')
        file.flush()
        yield


def works() -> bool:
    """Tell whether MMCV's operators load and run, in a process of their own."""
    check = Path(__file__).with_name('check_mmcv.py')
    return subprocess.run([sys.executable, check]).returncode == 0


def install_ready_wheel(package: str, version: str) -> str | None:
    """Install a ready wheel if one works here; return why not, or None."""
    with tempfile.TemporaryDirectory() as temporary:
        reason = download_wheel(package, version, Path(temporary))
        if reason is None:
            install(Path(temporary))
            reason = None if works() else 'the operators of the ready wheel do not run'
    return reason


def main(requirements: str) -> int:
    """Install MMCV unless a working one is there.

    Args:
        requirements: The requirements file that pins it.

    Returns:
        The exit status.
    """
    package, version = pinned_version(Path(requirements).read_text())
    try:
        if metadata.version(package) == version and works():
            return 0
    except metadata.PackageNotFoundError:
        pass
    device = target_device()
    folder = wheel_folder(package, version, device)
    with one_at_a_time(folder):
        return install_or_build(package, version, device, folder)


def install_or_build(package: str, version: str, device: str, folder: Path) -> int:
    """Install the wheel that was kept, a ready one, or one that is compiled now.

    Returns:
        The exit status.
    """
    if folder.is_dir():
        print(f'MMCV {version} was compiled for {device} before: {folder}')
        install(folder)
        if works():
            return 0
        print('The wheel that was kept does not work here.')
    reason = install_ready_wheel(package, version)
    if reason is None:
        print(f'A ready wheel of MMCV {version} works here: {ready_wheels(package)}')
        return 0
    print(
        f'Compiling MMCV {version} for {device}, as there is no ready wheel for '
        f'PyTorch {torch.__version__} ({reason}); what is compiled is kept in {folder}'
    )
    build_wheel(package, version, device, folder)
    install(folder)
    return 0 if works() else 1


if __name__ == '__main__':
    try:
        sys.exit(main(*sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f'`{" ".join(map(str, error.cmd))}` ended with {error.returncode}')
