"""Depthwise convolution through real two-dimensional FFTs, on any device.

The cost hardly depends on the kernel's size: this wins for the largest kernels on the
largest maps. fp16 and bf16 tensors are transformed in float32.
"""

import torch
from torch import Tensor

from mmdcls.compat import is_compiling
from mmdcls.errors import ArgumentError


def can_run(
    operation: str,
    x: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    raise_error: bool = False,
    name: str = 'fft',
) -> bool:
    """Tell whether ``operation`` can run here.

    There must be an image, and the padding must be below the kernel size.

    Raises:
        ArgumentError: If it cannot and ``raise_error`` is set; the message says why and
            calls the backend ``name``.
    """
    message = None
    if x.shape[0] == 0:
        message = 'a batch of at least one image only, got none.'
    elif any(p >= k for p, k in zip(padding, kernel_size, strict=True)):
        message = (
            f'padding below the kernel size only, got padding {tuple(padding)} with '
            f'kernel size {tuple(kernel_size)}.'
        )
    if message is not None and raise_error:
        raise ArgumentError(f'backend {name!r} accepts {message}')
    return message is None


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """Convolve depthwise; the result has the memory format of ``x`` if not compiled."""
    sizes = _transform_sizes(x.shape[2:], padding)
    kernel_size = weight.shape[2:]
    spectrum = _transform(x, sizes)
    # A correlation is the convolution with the flipped kernel; its first wanted row
    # is then k - 1 - p, so that the result is one slice without wrapping around.
    spectrum *= _transform(weight.flip(2, 3), sizes)[:, 0]
    crop = [
        slice(k - 1 - p, size + p)
        for k, p, size in zip(kernel_size, padding, x.shape[2:], strict=True)
    ]
    output = _invert(spectrum, sizes, crop, x)
    if bias is not None:
        output += bias[:, None, None]
    return output


def grad_input(
    grad_output: Tensor,
    weight: Tensor,
    input_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Compute the input's gradient, in the memory format of ``grad_output``."""
    sizes = _transform_sizes(input_size, padding)
    spectrum = _transform(grad_output, sizes)
    spectrum *= _transform(weight, sizes)[:, 0]
    crop = [slice(p, p + size) for p, size in zip(padding, input_size, strict=True)]
    return _invert(spectrum, sizes, crop, grad_output)


def grad_weight(
    x: Tensor,
    grad_output: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Correlate ``x`` with ``grad_output``, which is the gradient of the weight."""
    sizes = _transform_sizes(x.shape[2:], padding)
    spectrum = _transform(x, sizes)
    spectrum *= _transform(grad_output, sizes).conj()
    correlation = torch.fft.irfft2(spectrum.sum(0), s=sizes)
    # Shift -p of the correlation, which wraps around, is the kernel's first row.
    correlation = correlation.roll(tuple(padding), (1, 2))
    result = correlation[:, None, : kernel_size[0], : kernel_size[1]]
    return result.to(x.dtype, memory_format=torch.contiguous_format)


def _transform_sizes(map_size, padding):
    """Return the period per axis at which no wanted output is aliased."""
    return [_fast_size(size + p) for size, p in zip(map_size, padding, strict=True)]


def _transform(x, sizes):
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    return torch.fft.rfft2(x, s=sizes)


def _invert(spectrum, sizes, crop, like):
    output = torch.fft.irfft2(spectrum, s=sizes)[..., crop[0], crop[1]]
    output = output.to(like.dtype)
    if is_compiling():
        # The compiler lays maps out itself, and that of PyTorch 2.6 lets nobody ask a
        # gradient for its format.
        return output
    memory_format = torch.contiguous_format
    if like.is_contiguous(memory_format=torch.channels_last):
        memory_format = torch.channels_last
    return output.contiguous(memory_format=memory_format)


def _fast_size(size: int) -> int:
    """Return the next even number without prime factors above 5."""
    size += size % 2
    while not _is_smooth(size):
        size += 2
    return size


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1
