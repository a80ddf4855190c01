"""Depthwise convolution by PyTorch's own convolution, on any device.

On a CPU all three operations are *forward* convolutions of channels_last tensors,
which oneDNN runs near the processor's peak; its backward ones are loops, 10 to 30
times slower for large kernels. fp16 and bf16 are computed in float32 there, which is
as fast and more exact.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def can_run(
    operation: str,
    x: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    raise_error: bool = False,
) -> bool:
    """Tell whether ``operation`` can run here: always."""
    return True


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """Convolve depthwise; the result is in channels_last memory on a CPU."""
    dtype = x.dtype
    if x.device.type == 'cpu':
        x, weight, bias = (_compute_format(tensor) for tensor in (x, weight, bias))
    return F.conv2d(x, weight, bias, padding=padding, groups=x.shape[1]).to(dtype)


def grad_input(
    grad_output: Tensor,
    weight: Tensor,
    input_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Convolve the output's gradient with the flipped kernel: the input's gradient."""
    margins = [k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)]
    if min(margins) < 0:
        # The outermost outputs see nothing but padding.
        cut = [max(0, -margin) for margin in margins]
        rows, columns = grad_output.shape[2:]
        grad_output = grad_output[
            ..., cut[0] : rows - cut[0], cut[1] : columns - cut[1]
        ]
    height, width = (max(0, margin) for margin in margins)
    return forward(grad_output, weight.flip(2, 3), None, (height, width))


def grad_weight(
    x: Tensor,
    grad_output: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Compute the gradient of the weight.

    On a CPU each image is convolved with its own output gradient as the kernel: the
    result is exactly as large as the weight, and the work is that of one forward.
    """
    channels = x.shape[1]
    if x.device.type != 'cpu':
        weight = x.new_empty(1).expand(channels, 1, *kernel_size)
        return torch.ops.aten.convolution_backward(
            grad_output, x, weight, None, [1, 1], list(padding), [1, 1],
            False, [0, 0], channels, [False, True, False],
        )[1]  # fmt: skip
    images = _compute_format(x)
    # In NCHW memory each gradient is a kernel as the convolution wants it; taking it
    # out of a channels_last tensor would cost a strided copy per image.
    kernels = grad_output.to(images.dtype).contiguous().unsqueeze(2)
    total = images.new_zeros(1, channels, *kernel_size)
    for index in range(x.shape[0]):
        total += F.conv2d(
            images[index : index + 1], kernels[index], padding=padding, groups=channels
        )
    return total.transpose(0, 1).to(x.dtype)


def _compute_format(x):
    if x is not None and x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    if x is not None and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    return x
