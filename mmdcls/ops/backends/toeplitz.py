"""Depthwise convolution on tensor cores, in Triton, for CUDA devices.

Kernels of fp16, bf16, and of float32 where PyTorch's settings allow TF32 in
convolutions; sums are in float32. It works on NCHW maps and converts those that are
not.
"""

import torch
from torch import Tensor

from mmdcls.errors import ArgumentError

from .gpu import is_interpreted, refusal
from .layout import format_of
from .tf32 import allows_tf32
from .triton import correlation_shape

DTYPES = (torch.float16, torch.bfloat16, torch.float32)

# Wider kernels would need more of a product than a program can hold.
LARGEST_WIDTH = 96


def can_run(
    operation: str,
    x: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    raise_error: bool = False,
) -> bool:
    """Whether ``operation`` can run here.

    Triton must be installed and ``x`` on a CUDA device with tensor cores (compute
    capability 8.0); with ``TRITON_INTERPRET=1`` in the environment, Triton's
    interpreter takes CPU tensors instead.

    Raises:
        MissingPackageError: If Triton is missing and ``raise_error`` is set.
        ArgumentError: If it refuses these tensors and ``raise_error`` is set.
    """
    error = refusal('toeplitz', x, DTYPES, capability=(8, 0))
    if error is None and kernel_size[1] > LARGEST_WIDTH:
        error = ArgumentError(
            f"backend 'toeplitz' accepts kernels of up to {LARGEST_WIDTH} columns, got "
            f'{kernel_size[1]}.'
        )
    if error is None and x.dtype == torch.float32 and not _may_round():
        error = ArgumentError(
            "backend 'toeplitz' accepts float32 only where TF32 is allowed, and "
            "torch.backends.cudnn.conv.fp32_precision is not 'tf32'."
        )
    if error is not None and raise_error:
        raise error
    return error is None


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """Depthwise convolution; the result has the memory format of ``x``."""
    return correlate(x, weight, bias, list(padding), False)


def grad_input(
    grad_output: Tensor,
    weight: Tensor,
    input_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Gradient of the input; it has the memory format of ``grad_output``."""
    margins = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
    return correlate(grad_output, weight, None, margins, True)


def grad_weight(
    x: Tensor,
    grad_output: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Gradient of the weight."""
    return correlate_sum(x, grad_output, list(padding))


@torch.library.custom_op('mmdcls::toeplitz_correlate', mutates_args=())
def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int], flip: bool
) -> Tensor:
    """Correlate each channel of ``x`` with its kernel, as ``triton.correlate`` does."""
    from .toeplitz_kernels import launch

    out = x.new_empty(correlation_shape(x, weight, padding))
    launch(x.contiguous(), weight.contiguous(), bias, out, padding, flip=flip)
    return out.contiguous(memory_format=format_of(x))


@correlate.register_fake
def _empty_correlation(x, weight, bias, padding, flip):
    shape = correlation_shape(x, weight, padding)
    return x.new_empty(shape).contiguous(memory_format=format_of(x))


@torch.library.custom_op('mmdcls::toeplitz_correlate_sum', mutates_args=())
def correlate_sum(x: Tensor, grad_output: Tensor, padding: list[int]) -> Tensor:
    """Gradient of the weight, as ``triton.correlate_sum`` gives it."""
    from .toeplitz_kernels import launch_sum

    kernel_size = correlation_shape(x, grad_output, padding)[2:]
    parts = launch_sum(x.contiguous(), grad_output.contiguous(), kernel_size, padding)
    return parts.sum((0, 3)).unsqueeze(1).to(x.dtype)


@correlate_sum.register_fake
def _empty_sum(x, grad_output, padding):
    _, channels, height, width = correlation_shape(x, grad_output, padding)
    return x.new_empty((channels, 1, height, width))


def _may_round():
    return is_interpreted() or allows_tf32()
