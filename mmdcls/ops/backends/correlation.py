"""The three operations of a depthwise convolution by two custom operators.

All three correlate maps with kernels: the input with the weight, the output gradient
with the weight turned by half a turn, and the input with the output gradient of its own
image.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .layout import format_of

CORRELATE = (
    '(Tensor x, Tensor weight, Tensor? bias, int[] padding, bool flip) -> Tensor'
)
CORRELATE_SUM = '(Tensor x, Tensor grad_output, int[] padding) -> Tensor'
"""The schemas of the two operators that :func:`make_operations` takes."""


def correlation_shape(
    x: Tensor, kernel: Tensor, padding: list[int]
) -> tuple[int, int, int, int]:
    """Return the shape of a correlation of maps (N, C, H, W) with kernels (*, *, h, w).

    Args:
        x: Maps, (N, C, H, W).
        kernel: Kernels, of which the last two axes count.
        padding: Zeros on either side, (rows, columns), or negative.
    """
    height, width = (
        size + 2 * p - k + 1
        for size, p, k in zip(x.shape[2:], padding, kernel.shape[2:], strict=True)
    )
    return x.shape[0], x.shape[1], height, width


def make_operations(
    correlate: Any, correlate_sum: Any
) -> tuple[Callable[..., Tensor], Callable[..., Tensor], Callable[..., Tensor]]:
    """Make a backend's operations, and tell PyTorch the results' shapes for tracing.

    Args:
        correlate: Operator of the arguments ``(x, weight, bias, padding, flip)`` that
            correlates each channel of the maps ``x`` (N, C, H, W) with its kernel of
            ``weight`` (C, 1, h, w), turned by half a turn if ``flip``, and adds
            ``bias`` (C,) or nothing. ``padding`` is a list [rows, columns] of zeros on
            either side; where it is negative, outer rows or columns are left out. The
            result is in the memory format of ``x``.
        correlate_sum: Operator of the arguments ``(x, grad_output, padding)`` that
            correlates each map of ``x`` (N, C, H, W) with that of ``grad_output``
            (N, C, H', W') and sums over the images, to (C, 1, h, w) in NCHW memory.

    Returns:
        The functions ``forward``, ``grad_input`` and ``grad_weight`` that every backend
        has, see :mod:`mmdcls.ops.backends`. Maps keep their memory format.
    """

    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
    ) -> Tensor:
        return correlate(x, weight, bias, list(padding), False)

    def grad_input(
        grad_output: Tensor,
        weight: Tensor,
        input_size: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        margins = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
        return correlate(grad_output, weight, None, margins, True)

    def grad_weight(
        x: Tensor,
        grad_output: Tensor,
        kernel_size: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        return correlate_sum(x, grad_output, list(padding))

    correlate.register_fake(_empty_correlation)
    correlate_sum.register_fake(_empty_sum)
    return forward, grad_input, grad_weight


def _empty_correlation(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int], flip: bool
) -> Tensor:
    shape = correlation_shape(x, weight, padding)
    return x.new_empty(shape).contiguous(memory_format=format_of(x))


def _empty_sum(x: Tensor, grad_output: Tensor, padding: list[int]) -> Tensor:
    _, channels, height, width = correlation_shape(x, grad_output, padding)
    return x.new_empty((channels, 1, height, width))
