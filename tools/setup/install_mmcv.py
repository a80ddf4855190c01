"""Compile MMCV once for this Python, PyTorch and device, keep the wheel, install it.

MMCV comes as source only, and pip's and uv's caches know a wheel by MMCV's version
alone: they would hand out one that was compiled against another PyTorch.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import torch
from torch.utils.cpp_extension import CUDA_HOME

ROOT = Path(__file__).resolve().parents[2]


def pinned_version(requirements: str) -> str:
    """Return the version that the text of a requirements file pins MMCV to."""
    return re.search(r'^mmcv==(\S+)$', requirements, re.MULTILINE).group(1)


def target_device() -> str:
    """Return what MMCV is compiled for: ``'cuda'`` or ``'cpu'``."""
    if os.environ.get('FORCE_CUDA') == '1':
        return 'cuda'
    if torch.cuda.is_available() and CUDA_HOME is None:
        print(
            'This machine has a GPU but no nvcc (the CUDA toolkit): MMCV is compiled '
            'for the CPU, and detection will not run on the GPU.'
        )
    return 'cuda' if torch.cuda.is_available() and CUDA_HOME else 'cpu'


def wheel_folder(version: str, device: str) -> Path:
    """Return the folder that keeps the wheel of this version for this machine."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    python = sys.implementation.cache_tag
    return (
        cache / 'mmdcls' / f'mmcv-{version}-torch{torch.__version__}-{python}-{device}'
    )


def build_wheel(version: str, device: str, folder: Path) -> None:
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
        subprocess.run(
            [*pip, '--no-build-isolation', f'--wheel-dir={wheels}', f'mmcv=={version}'],
            env=environment,
            check=True,
        )
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(wheels, folder)


def install(folder: Path) -> None:
    """Install the wheel in ``folder``; what it needs came with mminstall.txt."""
    (wheel,) = folder.glob('mmcv-*.whl')
    uv = [Path(sys.executable).with_name('uv'), 'pip', 'install', '--no-deps']
    subprocess.run([*uv, '--python', sys.executable, '--reinstall', wheel], check=True)


def works() -> bool:
    """Tell whether MMCV's operators load and run, in a process of their own."""
    check = Path(__file__).with_name('check_mmcv.py')
    return subprocess.run([sys.executable, check]).returncode == 0


def main() -> int:
    """Install MMCV unless a working one is there; return the exit status."""
    version = pinned_version((ROOT / 'requirements' / 'mmcv.txt').read_text())
    try:
        if metadata.version('mmcv') == version and works():
            return 0
    except metadata.PackageNotFoundError:
        pass
    device = target_device()
    folder = wheel_folder(version, device)
    cached = folder.is_dir()
    if not cached:
        print(f'Compiling MMCV {version} for {device}; the wheel is kept in {folder}')
        build_wheel(version, device, folder)
    install(folder)
    if works():
        return 0
    if not cached:
        return 1
    print(f'The wheel kept in {folder} does not work here: compiling MMCV anew')
    build_wheel(version, device, folder)
    install(folder)
    return 0 if works() else 1


if __name__ == '__main__':
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f'`{" ".join(map(str, error.cmd))}` ended with {error.returncode}')
