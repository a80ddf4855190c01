"""Depthwise convolution on tensor cores, in Triton, for CUDA devices.

Kernels of fp16, bf16, and of float32 where PyTorch's settings allow TF32 in
convolutions; sums are in float32. It works on NCHW maps and converts those that are
not.
"""

import torch
from torch import Tensor

from mmdcls.compat import allows_tf32, custom_op
from mmdcls.errors import ArgumentError

from .correlation import (
    CORRELATE,
    CORRELATE_SUM,
    correlation_shape,
    make_operations,
)
from .gpu import is_interpreted, refusal
from .layout import format_of

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
    """Tell whether ``operation`` can run here.

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


@custom_op('mmdcls::toeplitz_correlate', CORRELATE)
def correlate(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int], flip: bool
) -> Tensor:
    """Correlate maps with kernels; arguments as in :func:`.make_operations`."""
    from .toeplitz_kernels import launch

    out = x.new_empty(correlation_shape(x, weight, padding))
    launch(x.contiguous(), weight.contiguous(), bias, out, padding, flip=flip)
    return out.contiguous(memory_format=format_of(x))


@custom_op('mmdcls::toeplitz_correlate_sum', CORRELATE_SUM)
def correlate_sum(x: Tensor, grad_output: Tensor, padding: list[int]) -> Tensor:
    """Compute the gradient of the weight; arguments as in :func:`.make_operations`."""
    from .toeplitz_kernels import launch_sum

    kernel_size = correlation_shape(x, grad_output, padding)[2:]
    parts = launch_sum(x.contiguous(), grad_output.contiguous(), kernel_size, padding)
    return parts.sum((0, 3)).unsqueeze(1).to(x.dtype)


forward, grad_input, grad_weight = make_operations(correlate, correlate_sum)


def _may_round():
    return is_interpreted() or allows_tf32()
