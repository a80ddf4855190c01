"""The differences between the versions of PyTorch that mmdcls runs on: 2.1 and later.

Whatever in the package depends on PyTorch's version is here. What an old version cannot
do is left out there, and docs/installation.md lists it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from .environment import check_pytorch

check_pytorch()

OLDEST_TORCH = (2, 1)


def torch_is(major: int, minor: int) -> bool:
    """Tell whether PyTorch is of this version or a later one."""
    release = torch.__version__.split('+')[0].split('.')
    return (int(release[0]), int(release[1])) >= (major, minor)


OutOfMemoryError = torch.cuda.OutOfMemoryError
"""Raised where a device has too little memory (``torch.OutOfMemoryError`` of 2.5)."""

HAS_CUSTOM_OPERATORS = torch_is(2, 4)
"""Whether functions can be made operators that ``torch.compile`` leaves whole."""


class _PlainOperator:
    """A function in the place of a custom operator."""

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __call__(self, *args, **kwargs):
        return self._function(*args, **kwargs)

    def register_fake(self, function: Callable) -> Callable:
        """Do nothing: before PyTorch 2.4 the results' shapes are told to nobody."""
        return function


def custom_op(name: str, schema: str) -> Callable[[Callable], Any]:
    """Make a function an operator of PyTorch, which ``torch.compile`` leaves whole.

    Before PyTorch 2.4 the function stays one, and cannot be compiled.

    Args:
        name: The operator's name, ``'mmdcls::…'``.
        schema: The operator's arguments and results in PyTorch's language. PyTorch
            derives it from annotations such as ``list[int]`` in recent versions only.
    """
    if not HAS_CUSTOM_OPERATORS:
        return _PlainOperator
    return torch.library.custom_op(name, mutates_args=(), schema=schema)


def is_compiling() -> bool:
    """Tell whether ``torch.compile`` or ``torch.export`` reads the code just now."""
    if hasattr(torch.compiler, 'is_compiling'):  # PyTorch 2.1 has it not.
        return torch.compiler.is_compiling()
    # Importing it takes seconds, and who compiles has done so.
    dynamo = sys.modules.get('torch._dynamo')
    return dynamo is not None and dynamo.is_compiling()


def may_be_exporting() -> bool:
    """Tell whether what is read while :func:`is_compiling` may be to run elsewhere.

    Before PyTorch 2.7 nobody tells ``torch.export`` from ``torch.compile``.
    """
    return not torch_is(2, 7) or torch.compiler.is_exporting()


def has_global_hooks() -> bool:
    """Tell whether hooks are registered that run with every module."""
    hooks = ('forward_pre_hooks', 'forward_hooks', 'backward_pre_hooks')
    return any(
        getattr(torch.nn.modules.module, f'_global_{kind}')
        for kind in (*hooks, 'backward_hooks')
    )


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """Return the data type that autocast uses on a type of device; None if it is off.

    Args:
        device_type: Name of the type, such as ``'cuda'``.
    """
    if not has_autocast(device_type):
        return None
    if torch_is(2, 4):
        enabled = torch.is_autocast_enabled(device_type)
        return torch.get_autocast_dtype(device_type) if enabled else None
    if device_type == 'cpu':
        enabled = torch.is_autocast_cpu_enabled()
        return torch.get_autocast_cpu_dtype() if enabled else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def has_autocast(device_type: str) -> bool:
    """Tell whether a type of device has autocast; the meta device has none."""
    if is_compiling():
        # PyTorch 2.8 cannot trace the question below.
        return device_type != 'meta'
    if torch_is(2, 4):
        return torch.amp.is_autocast_available(device_type)
    return device_type in ('cpu', 'cuda')


def without_autocast(device_type: str) -> AbstractContextManager:
    """Return a context in which autocast is off on a type of device."""
    if has_autocast(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def allows_tf32() -> bool:
    """Tell whether PyTorch's settings let cuDNN's convolutions use TF32."""
    conv = getattr(torch.backends.cudnn, 'conv', None)
    if conv is None:  # PyTorch 2.8 and earlier.
        return torch.backends.cudnn.allow_tf32
    return conv.fp32_precision == 'tf32'
