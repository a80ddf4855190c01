"""What the Triton backends need of a machine and of tensors."""

import importlib.util
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from mmdcls.errors import ArgumentError, MissingPackageError, MmdclsError


def is_interpreted() -> bool:
    """Whether Triton's interpreter stands in for a GPU, on CPU tensors."""
    return os.environ.get('TRITON_INTERPRET') == '1'


@torch.compiler.assume_constant_result
def has_triton() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec('triton') is not None


def refusal(
    backend: str,
    x: Tensor,
    dtypes: Sequence[torch.dtype],
    capability: tuple[int, int] = (0, 0),
) -> MmdclsError | None:
    """Why a Triton backend cannot take tensors such as ``x``; None if it can.

    Args:
        backend: Its name, for the message.
        x: Maps, (N, C, H, W).
        dtypes: What it accepts.
        capability: The smallest CUDA compute capability that will do.
    """
    device = 'cpu' if is_interpreted() else 'cuda'
    if not has_triton():
        return MissingPackageError(
            f"backend {backend!r} needs the package 'triton', which is not installed."
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
