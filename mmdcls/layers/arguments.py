"""Arguments of convolutions: normalised, checked, and taken over from nn.ConvNd."""

import functools
import math
import os
from collections.abc import Callable, Sequence
from numbers import Integral

from torch import Tensor

from mmdcls.errors import ArgumentError

PADDING_MODES = ('zeros', 'reflect', 'replicate', 'circular')

_CONVOLUTION_ARGUMENTS = (
    'kernel_size',
    'stride',
    'padding',
    'dilation',
    'groups',
    'bias',
    'padding_mode',
)


def accept_convolution_call(init: Callable) -> Callable:
    """Let the ``__init__`` of a DCLS layer be called like that of ``nn.ConvNd``.

    mmcv's ``build_conv_layer`` calls ``Layer(in_channels, out_channels, kernel_size,
    ..., **conv_cfg)``, where ours has ``kernel_count`` third. The two are told apart by
    ``kernel_count``, which a ``conv_cfg`` gives by keyword.
    """

    @functools.wraps(init)
    def wrapper(self, in_channels, out_channels, *args, **kwargs):
        if args and 'kernel_count' in kwargs:
            kwargs.update(zip(_CONVOLUTION_ARGUMENTS, args, strict=False))
            args = ()
        init(self, in_channels, out_channels, *args, **kwargs)

    return wrapper


def to_sizes(
    name: str, value: int | Sequence[int], length: int, minimum: int
) -> tuple[int, ...]:
    """Return one integer, or ``length`` of them, as a tuple.

    Raises:
        ArgumentError: Something else, or an integer below ``minimum``.
    """
    sizes = (value,) * length if isinstance(value, Integral) else value
    if (
        not isinstance(sizes, Sequence)
        or len(sizes) != length
        or not all(isinstance(size, Integral) for size in sizes)
        or min(sizes, default=minimum) < minimum
    ):
        raise ArgumentError(
            f'{name}={value!r} must be an integer or {length} integers, '
            f'each at least {minimum}'
        )
    return tuple(map(int, sizes))


def check_memory(
    out_channels: int, in_channels: int, kernel_size: Sequence[int], name: str
) -> None:
    """Refuse kernels of more values than this machine has memory for.

    Args:
        out_channels: The number of outputs.
        in_channels: The number of inputs that each output has.
        kernel_size: The sizes of the dense kernel.
        name: The argument that is named in the message.

    Raises:
        ArgumentError: If they are too large.
    """
    try:
        memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):  # Not told, as on Windows.
        return
    size = 4 * out_channels * in_channels * math.prod(kernel_size)
    if size > memory:
        raise ArgumentError(
            f'{name}={tuple(kernel_size)} makes {out_channels} x {in_channels} kernels '
            f'of {size / 2**30:,.0f} GiB in all, and this machine has '
            f'{memory / 2**30:,.0f} GiB of memory'
        )


def check_one_of(name: str, value: str, accepted: Sequence[str]) -> None:
    """Raise an ArgumentError that lists what is accepted if ``value`` is not."""
    if value not in accepted:
        raise ArgumentError(
            f'{name}={value!r} is unknown; accepted are {tuple(accepted)}'
        )


def size_keeping_padding(
    size: Sequence[int],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
) -> tuple[int, ...]:
    """Return the padding that gives the output size of another kernel.

    Args:
        size: Sizes of the new kernel, one an axis, like everything here.
        kernel_size: The sizes of the kernel that is replaced.
        dilation: The dilation of that kernel.
        padding: The padding of that kernel, on each side.

    Raises:
        ArgumentError: No padding that is equal on both sides does it.
    """
    result = []
    for axis, new in enumerate(size):
        extent = dilation[axis] * (kernel_size[axis] - 1) + 1
        if (new - extent) % 2:
            raise ArgumentError(
                f'dilated_kernel_size={new} (axis {axis}) cannot keep the output size '
                f'of the convolution replaced, whose kernel spans {extent}: both must '
                'be odd, or both even'
            )
        result.append(padding[axis] + (new - extent) // 2)
        if result[-1] < 0:
            raise ArgumentError(
                f'dilated_kernel_size={new} (axis {axis}) is too small to keep the '
                f'output size of the convolution replaced, whose kernel spans {extent} '
                f'with padding {padding[axis]}; it must be at least '
                f'{extent - 2 * padding[axis]}'
            )
    return tuple(result)


def position_limits(positions: Tensor, dilated_kernel_size: Sequence[int]) -> Tensor:
    """Return the largest absolute positions on the kernel, ``size // 2``, in pixels.

    Args:
        positions: ``(d, ...)``; the limits have its dtype and device.
        dilated_kernel_size: The ``d`` sizes of the kernel.

    Returns:
        ``(d, 1, ...)``, with as many axes as ``positions``.

    Example:
        >>> import torch
        >>> position_limits(torch.zeros(2, 1, 3), (17, 9)).flatten()
        tensor([8., 4.])
    """
    limits = positions.new_tensor([size // 2 for size in dilated_kernel_size])
    return limits.view(-1, *[1] * (positions.ndim - 1))
