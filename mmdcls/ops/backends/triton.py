"""Depthwise convolution by an exact Triton kernel, for CUDA devices.

One kernel serves all three operations. It works on channels_last maps, converts those
that are not, and sums in float32 (float64 for float64) without tensor cores.
"""

import torch
from torch import Tensor

from mmdcls.compat import custom_op

from .correlation import (
    CORRELATE,
    CORRELATE_SUM,
    correlation_shape,
    make_operations,
)
from .gpu import refusal
from .layout import format_of

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Enough programs of a weight gradient to fill a device, with few partial results.
_PROGRAMS = 4096


def can_run(
    operation: str,
    x: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    raise_error: bool = False,
) -> bool:
    """Tell whether ``operation`` can run here.

    Triton must be installed and ``x`` on a CUDA device; with ``TRITON_INTERPRET=1`` in
    the environment, Triton's interpreter takes CPU tensors instead.

    Raises:
        MissingPackageError: If Triton is missing and ``raise_error`` is set.
        ArgumentError: If it refuses these tensors and ``raise_error`` is set.
    """
    error = refusal('triton', x, DTYPES)
    if error is not None and raise_error:
        raise error
    return error is None


@custom_op('mmdcls::depthwise_correlate', CORRELATE)
def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int], flip: bool
) -> Tensor:
    """Correlate maps with kernels; arguments as in :func:`.make_operations`."""
    from .triton_kernels import launch

    maps = _channels_last(x)
    batch, channels, height, width = correlation_shape(x, weight, padding)
    out = maps.new_empty((batch, height, width, channels))
    taps = weight[:, 0].permute(1, 2, 0).contiguous()
    launch(maps, taps, bias, out, padding, flip=flip)
    return out.permute(0, 3, 1, 2).contiguous(memory_format=format_of(x))


@custom_op('mmdcls::depthwise_correlate_sum', CORRELATE_SUM)
def correlate_sum(x: Tensor, grad_output: Tensor, padding: list[int]) -> Tensor:
    """Compute the gradient of the weight; arguments as in :func:`.make_operations`."""
    from .triton_kernels import BLOCKS, launch

    maps, taps = _channels_last(x), _channels_last(grad_output)
    batch, channels, height, width = correlation_shape(x, grad_output, padding)
    tiles = -(-height // 4) * -(-width // BLOCKS[0]) * -(-channels // BLOCKS[1])
    images, rows = split(batch, x.shape[2], -(-_PROGRAMS // tiles))
    groups = -(-batch // images) * -(-x.shape[2] // rows)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    out = maps.new_empty((groups, height, width, channels), dtype=dtype)
    launch(
        maps, taps, None, out, padding,
        images_per_program=images, rows_per_program=rows,
    )  # fmt: skip
    return out.sum(0).to(x.dtype).permute(2, 0, 1).unsqueeze(1).contiguous()


forward, grad_input, grad_weight = make_operations(correlate, correlate_sum)


def split(batch: int, rows: int, parts: int) -> tuple[int, int]:
    """Return images and rows of each of about ``parts`` equal parts of a batch.

    Whole images as long as there are enough of them, else rows of one image.
    """
    if parts <= batch:
        return max(1, batch // parts), rows
    return 1, max(1, -(-rows * batch // parts))


def _channels_last(x):
    """Lay (N, C, H, W) in any format out as a dense (N, H, W, C)."""
    return x.permute(0, 2, 3, 1).contiguous()
