"""Say in one sentence what of an environment mmdcls cannot run in, and what mends it.

The oldest accepted versions are those that setup.py asks for, as the metadata of the
installed mmdcls tell; newest ones are left to the packages' own checks.
"""

from __future__ import annotations

import importlib
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version

from .errors import IncompatiblePackageError

OPENMMLAB = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'onedl-mmcv'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
}
"""The modules of OpenMMLab, with their distributions in its own line and in OneDL's."""

NEED_OPERATORS = ('mmseg', 'mmdet')
"""The packages that cannot be imported without MMCV's compiled operators."""


def check_pytorch() -> None:
    """Check PyTorch and NumPy, which the layers need.

    Raises:
        IncompatiblePackageError: If one is too old, or NumPy too new for PyTorch.
    """
    _check_oldest('torch')
    torch, numpy = _installed('torch'), _installed('numpy')
    if torch is None or numpy is None:
        return
    _check_oldest('numpy')
    if _release(torch) < (2, 3) and _release(numpy) >= (2,):
        raise IncompatiblePackageError(
            f'NumPy {numpy} is installed, and PyTorch {torch} accepts versions below '
            "2: `pip install 'numpy<2'` mends it."
        )


@cache
def check_openmmlab(module: str) -> None:
    """Check a package of OpenMMLab, and those it needs, before it is used.

    Args:
        module: The module, a key of :data:`OPENMMLAB`.

    Raises:
        ModuleNotFoundError: If it is not installed.
        IncompatiblePackageError: If both lines of packages are installed; if a package
            is too old; if it refuses another one's version; if it needs MMCV's compiled
            operators, and they are missing or do not load; if mmpretrain's models
            cannot be imported beside a transformers that is newer than they are.
    """
    for distributions in OPENMMLAB.values():
        found = [name for name in distributions if _installed(name)]
        if len(found) > 1:
            raise IncompatiblePackageError(
                f'{" and ".join(found)} are both installed, and write over each other: '
                f'`pip uninstall {" ".join(found)}`, then install one of them anew.'
            )
    for name in ('mmengine', 'mmcv', module):
        for distribution in OPENMMLAB[name]:
            _check_oldest(distribution)
    if module in NEED_OPERATORS:
        _check_operators(module)
    try:
        importlib.import_module(module)
    except AssertionError as error:
        raise IncompatiblePackageError(
            f'{module} {_installed(*OPENMMLAB[module])} refuses this environment: '
            f'{error}'
        ) from error
    if module == 'mmpretrain':
        _check_transformers()


def _check_transformers() -> None:
    """Import mmpretrain's models where they are known to fail: beside transformers 5.

    Those of mmpretrain 1.2 take what transformers 5 has not for base classes.
    """
    transformers = _installed('transformers')
    if transformers is None or _release(transformers) < (5,):
        return
    try:
        importlib.import_module('mmpretrain.models')
    except Exception as error:
        raise IncompatiblePackageError(
            f'mmpretrain {_installed(*OPENMMLAB["mmpretrain"])} cannot be imported '
            f'beside transformers {transformers} ({error}): '
            "`pip install 'transformers<5'` mends it."
        ) from error


def _check_operators(module: str) -> None:
    importlib.import_module('mmcv')
    try:
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        foreign = not isinstance(error, ModuleNotFoundError)
        trouble = f'operators that do not load ({error})' if foreign else 'none'
        name = next((n for n in OPENMMLAB['mmcv'] if _installed(n)), 'mmcv')
        installed = _installed(name, 'mmcv-lite')
        raise IncompatiblePackageError(
            f"{module} needs MMCV's operators, compiled for PyTorch "
            f'{_installed("torch")}, and the installed MMCV {installed} has {trouble}: '
            '`pip uninstall mmcv-lite; pip install --no-deps --force-reinstall '
            f'--no-cache-dir --no-build-isolation {name}=={installed}` compiles them.'
        ) from error


def _check_oldest(distribution: str) -> None:
    """Compare an installed version with the oldest one of setup.py."""
    found, oldest = _installed(distribution), _oldest(distribution)
    if found and oldest and _release(found) < _release(oldest):
        raise IncompatiblePackageError(
            f'{distribution} {found} is installed, and mmdcls needs {oldest} or later: '
            f"`pip install '{distribution}>={oldest}'` mends it."
        )


@cache
def _oldest(distribution: str) -> str | None:
    try:
        requirements = requires('mmdcls') or []
    except PackageNotFoundError:  # A clone that is on the path, and not installed.
        return None
    for requirement in requirements:
        text = requirement.partition(';')[0].replace(' ', '')
        # `torch>=2.1`, `mmdet<4,>=3.2`.
        if found := re.match(rf'{distribution}(?:<[^,]*,)?>=([\w.]+)', text):
            return found[1]
    return None


def _installed(*distributions: str) -> str | None:
    """Return the version of the first distribution that is there."""
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            pass
    return None


def _release(text: str) -> tuple[int, ...]:
    """Turn ``'2.1.2+cu121'`` into ``(2, 1, 2)``; what is no number ends it."""
    numbers = []
    for part in text.partition('+')[0].split('.'):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
