"""PyTorch's own convolution on the other memory format, for CUDA devices.

Which of cuDNN's and PyTorch's kernels serve a depthwise convolution, and how well,
depends on the format. Maps in NCHW are convolved in channels_last and the other way
round; the conversions there and back are part of the time.
"""

import torch
from torch import Tensor

from mmdcls.errors import ArgumentError

from . import aten
from .layout import format_of, is_channels_last


def can_run(
    operation: str,
    x: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    raise_error: bool = False,
) -> bool:
    """Tell whether ``operation`` can run here: not on a CPU, which has one format.

    Raises:
        ArgumentError: If ``x`` is on a CPU and ``raise_error`` is set.
    """
    if x.device.type != 'cpu':
        return True
    if raise_error:
        raise ArgumentError(
            "backend 'aten_relaid' accepts no tensors on cpu, where 'aten' takes "
            'channels_last already.'
        )
    return False


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """Convolve depthwise; the result has the memory format of ``x``."""
    output = aten.forward(_relaid(x), weight, bias, padding)
    return output.contiguous(memory_format=format_of(x))


def grad_input(
    grad_output: Tensor,
    weight: Tensor,
    input_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Compute the input's gradient, in the memory format of ``grad_output``."""
    gradient = aten.grad_input(_relaid(grad_output), weight, input_size, padding)
    return gradient.contiguous(memory_format=format_of(grad_output))


def grad_weight(
    x: Tensor,
    grad_output: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Compute the gradient of the weight."""
    x = _relaid(x)
    grad_output = grad_output.contiguous(memory_format=format_of(x))
    return aten.grad_weight(x, grad_output, kernel_size, padding)


def _relaid(x):
    if is_channels_last(x):
        return x.contiguous()
    return x.contiguous(memory_format=torch.channels_last)
