"""What the Triton backends need of a machine and of tensors."""

import functools
import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmdcls.errors import ArgumentError, MissingPackageError, MmdclsError

OLDEST_TRITON = (3, 4)
"""The oldest version of Triton that the kernels run on; it comes with PyTorch 2.8."""


@torch.compiler.assume_constant_result
def is_interpreted() -> bool:
    """Tell whether Triton's interpreter stands in for a GPU, on CPU tensors."""
    return os.environ.get('TRITON_INTERPRET') == '1'


@torch.compiler.assume_constant_result
def has_triton() -> bool:
    """Tell whether Triton is installed, in a version that the kernels run on."""
    return triton_is(*OLDEST_TRITON)


def triton_is(major: int, minor: int) -> bool:
    """Tell whether Triton is installed, in this version or a later one."""
    version = triton_version()
    if version is None:
        return False
    return tuple(map(int, version.split('.')[:2])) >= (major, minor)


@functools.cache
def triton_version() -> str | None:
    """Return the version of Triton, which is not imported; None without Triton."""
    spec = importlib.util.find_spec('triton')
    if spec is None or spec.origin is None:
        return None
    # Several distributions bring the package, under names of their own.
    version = re.search(r'__version__ = .(\d[\w.+]*)', Path(spec.origin).read_text())
    return version[1] if version else None


def refusal(
    backend: str,
    x: Tensor,
    dtypes: Sequence[torch.dtype],
    capability: tuple[int, int] = (0, 0),
) -> MmdclsError | None:
    """Return why a Triton backend cannot take tensors such as ``x``; None if it can.

    Args:
        backend: The backend's name, for the message.
        x: Maps, (N, C, H, W).
        dtypes: The data types that it accepts.
        capability: The smallest CUDA compute capability that will do.
    """
    device = 'cpu' if is_interpreted() else 'cuda'
    if not has_triton():
        version = triton_version()
        found = f'is of version {version}' if version else 'is not installed'
        return MissingPackageError(
            f"backend {backend!r} needs the package 'triton' "
            f'{".".join(map(str, OLDEST_TRITON))} or later, as PyTorch 2.8 and later '
            f'bring it; triton {found}.'
        )
    if x.device.type != device:
        return ArgumentError(
            f'backend {backend!r} accepts tensors on {device} only, got one on '
            f'{x.device}.'
        )
    if x.dtype not in dtypes:
        accepted = ', '.join(str(dtype) for dtype in dtypes)
        return ArgumentError(
            f'backend {backend!r} accepts {accepted} only, got {x.dtype}.'
        )
    if device == 'cuda' and torch.cuda.get_device_capability(x.device) < capability:
        return ArgumentError(
            f'backend {backend!r} needs a GPU of compute capability '
            f'{".".join(map(str, capability))}; {torch.cuda.get_device_name(x.device)} '
            f'has {".".join(map(str, torch.cuda.get_device_capability(x.device)))}.'
        )
    return None
