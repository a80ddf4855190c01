"""Depthwise convolution by a Triton kernel, for CUDA devices.

One kernel serves all three operations, each of which correlates maps with kernels:
the input with the weight, the output gradient with the flipped weight, and the input
with the output gradient of its own image. It reads NCHW and channels_last memory as
they lie and sums in float32 (float64 for float64), without TF32.
"""

import importlib.util
import os

import torch
from torch import Tensor

from .layout import format_of

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def can_run(
    operation: str,
    x: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    raise_error: bool = False,
) -> bool:
    """Whether ``operation`` can run here.

    Triton must be installed and ``x`` on a CUDA device; with ``TRITON_INTERPRET=1`` in
    the environment, Triton's interpreter takes CPU tensors instead.

    Raises:
        ImportError: If Triton is missing and ``raise_error`` is set.
        ValueError: If it refuses these tensors and ``raise_error`` is set.
    """
    error = None
    device = 'cpu' if os.environ.get('TRITON_INTERPRET') == '1' else 'cuda'
    if importlib.util.find_spec('triton') is None:
        error = ImportError(
            "backend 'triton' needs the package 'triton', which is not installed."
        )
    elif x.device.type != device:
        error = ValueError(
            f"backend 'triton' accepts tensors on {device} only, got one on {x.device}."
        )
    elif x.dtype not in DTYPES:
        accepted = ', '.join(str(dtype) for dtype in DTYPES)
        error = ValueError(f"backend 'triton' accepts {accepted} only, got {x.dtype}.")
    if error is not None and raise_error:
        raise error
    return error is None


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """Depthwise convolution; the result has the memory format of ``x``."""
    return correlate(x, weight.transpose(0, 1), bias, list(padding))


def grad_input(
    grad_output: Tensor,
    weight: Tensor,
    input_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Gradient of the input; it has the memory format of ``grad_output``."""
    margins = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
    return correlate(grad_output, weight.flip(2, 3).transpose(0, 1), None, margins)


def grad_weight(
    x: Tensor,
    grad_output: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Gradient of the weight."""
    return correlate_sum(x, grad_output, list(padding)).transpose(0, 1)


@torch.library.custom_op('mmdcls::depthwise_correlate', mutates_args=())
def correlate(
    x: Tensor, kernel: Tensor, bias: Tensor | None, padding: list[int]
) -> Tensor:
    """Correlate each channel of ``x`` with its kernel.

    Args:
        x: Maps, (N, C, H, W).
        kernel: One kernel a channel, (1, C, h, w).
        bias: Added to each channel, (C,).
        padding: Zeros on either side, (rows, columns); where negative, outer rows
            or columns are left out instead.

    Returns:
        (N, C, H + 2 * padding - h + 1, W + 2 * padding - w + 1), in the memory format
        of ``x``.
    """
    from .triton_kernels import launch

    out = _empty_output(x, kernel, bias, padding)
    launch(x, kernel, bias, out, padding, images_per_program=1)
    return out


@correlate.register_fake
def _empty_output(x, kernel, bias, padding):
    return torch.empty(
        _output_shape(x, kernel, padding),
        dtype=x.dtype,
        device=x.device,
        memory_format=format_of(x),
    )


@torch.library.custom_op('mmdcls::depthwise_correlate_sum', mutates_args=())
def correlate_sum(x: Tensor, kernel: Tensor, padding: list[int]) -> Tensor:
    """Correlate each map of ``x`` with its own kernel and sum over the images.

    Args:
        x: Maps, (N, C, H, W).
        kernel: One kernel a map, (N, C, h, w).
        padding: Zeros on either side, (rows, columns).

    Returns:
        (1, C, H + 2 * padding - h + 1, W + 2 * padding - w + 1), in NCHW memory.
    """
    from .triton_kernels import launch

    batch, channels, *size = _output_shape(x, kernel, padding)
    # Enough programs to fill a device, with few partial results to write and sum.
    images = max(1, -(-batch // 16))
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    out = x.new_empty((-(-batch // images), channels, *size), dtype=dtype)
    launch(x, kernel, None, out, padding, images_per_program=images)
    return out.sum(0, keepdim=True).to(x.dtype)


@correlate_sum.register_fake
def _empty_sum(x, kernel, padding):
    return x.new_empty((1, *_output_shape(x, kernel, padding)[1:]))


def _output_shape(x, kernel, padding):
    return (
        *x.shape[:2],
        *(
            size + 2 * p - k + 1
            for size, p, k in zip(x.shape[2:], padding, kernel.shape[2:], strict=True)
        ),
    )
