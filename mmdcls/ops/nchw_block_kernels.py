"""The Triton kernels behind ``nchw_block.py``; importing this needs Triton.

A tile has pixels of one image along its first axis and channels along its second.
Tensors in NCHW are read and written along the first one and (N, H, W, C) along the
second, in whole cache lines both; the compiler exchanges the values between threads.
Sums over pixels are written once for each program, and added up by PyTorch, so that
they are the same in each run.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

# What images of many sizes must not make the kernels be compiled anew for: what matters
# of the number of pixels, the alignment of channels in NCHW, is in ALIGN.
_SIZES = ('pixels',)

# Channels of a tile; they divide those of every ConvNeXt.
BLOCK_C = 32


@triton.jit
def _pixels(pixels, BLOCK_P: tl.constexpr):
    """Return a program's image, its pixels, and which of these there are."""
    blocks = tl.cdiv(pixels, BLOCK_P)
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)
    pixel = (program % blocks) * BLOCK_P + tl.arange(0, BLOCK_P)
    return image, pixel, pixel < pixels


@triton.jit
def _shifted(x, shift, channel, pixels, mask, in_channels, HAS_SHIFT: tl.constexpr):
    """Load a tile of NCHW maps in float32, and add each channel's shift."""
    value = tl.load(x + (channel * pixels)[None, :], mask=mask, other=0.0)
    value = value.to(tl.float32)
    if HAS_SHIFT:
        value += tl.load(shift + channel, mask=in_channels, other=0.0).to(tl.float32)
    return value


@triton.jit(do_not_specialize=_SIZES)
def norm_kernel(
    x, shift, weight, bias, out, means, factors, channels, pixels, eps,
    ALIGN: tl.constexpr, HAS_SHIFT: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Normalise the channels of BLOCK_P pixels.

    Mean and variance are those of the blocks of channels, merged (Chan et al.), for
    which each channel is read once.
    """
    pixels = pixels // ALIGN * ALIGN
    image, pixel, in_pixels = _pixels(pixels, BLOCK_P)
    source = x + image * channels * pixels + pixel[:, None]
    mean = tl.zeros((BLOCK_P,), dtype=tl.float32)
    squares = tl.zeros((BLOCK_P,), dtype=tl.float32)
    for start in range(0, channels, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        in_channels = channel < channels
        mask = in_pixels[:, None] & in_channels[None, :]
        value = _shifted(source, shift, channel, pixels, mask, in_channels, HAS_SHIFT)
        count = tl.minimum(channels - start, BLOCK_C).to(tl.float32)
        before = start * 1.0
        own = tl.sum(tl.where(mask, value, 0.0), 1) / count
        centred = tl.where(mask, value - own[:, None], 0.0)
        delta = own - mean
        mean += delta * (count / (before + count))
        squares += tl.sum(centred * centred, 1)
        squares += delta * delta * (before * count / (before + count))
    factor = 1.0 / tl.sqrt(squares / channels + eps)
    tl.store(means + image * pixels + pixel, mean, mask=in_pixels)
    tl.store(factors + image * pixels + pixel, factor, mask=in_pixels)
    target = out + (image * pixels + pixel[:, None]) * channels
    for start in range(0, channels, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        in_channels = channel < channels
        mask = in_pixels[:, None] & in_channels[None, :]
        value = _shifted(source, shift, channel, pixels, mask, in_channels, HAS_SHIFT)
        value = (value - mean[:, None]) * factor[:, None]
        scale = tl.load(weight + channel, mask=in_channels, other=0.0).to(tl.float32)
        offset = tl.load(bias + channel, mask=in_channels, other=0.0).to(tl.float32)
        value = value * scale[None, :] + offset[None, :]
        tl.store(target + channel[None, :], value.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=_SIZES)
def norm_backward_kernel(
    grad, x, shift, weight, means, factors, grad_x, sums, channels, pixels,
    ALIGN: tl.constexpr, HAS_SHIFT: tl.constexpr, BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute gradients of the maps, and sums over BLOCK_P pixels of the others'."""
    pixels = pixels // ALIGN * ALIGN
    image, pixel, in_pixels = _pixels(pixels, BLOCK_P)
    plane = image * channels * pixels + pixel[:, None]
    source = x + plane
    grads = grad + (image * pixels + pixel[:, None]) * channels
    mean = tl.load(means + image * pixels + pixel, mask=in_pixels, other=0.0)
    # A factor of 0 makes the gradients 0 where there is no pixel.
    factor = tl.load(factors + image * pixels + pixel, mask=in_pixels, other=0.0)
    mean, factor = mean[:, None], factor[:, None]
    along = tl.zeros((BLOCK_P,), dtype=tl.float32)
    total = tl.zeros((BLOCK_P,), dtype=tl.float32)
    for start in range(0, channels, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        in_channels = channel < channels
        mask = in_pixels[:, None] & in_channels[None, :]
        value = _shifted(source, shift, channel, pixels, mask, in_channels, HAS_SHIFT)
        scale = tl.load(weight + channel, mask=in_channels, other=0.0).to(tl.float32)
        g = tl.load(grads + channel[None, :], mask=mask, other=0.0).to(tl.float32)
        g *= scale[None, :]
        along += tl.sum(g * ((value - mean) * factor), 1)
        total += tl.sum(g, 1)
    along = (along / channels)[:, None]
    total = (total / channels)[:, None]
    sums += tl.program_id(0).to(tl.int64) * 3 * channels
    for start in range(0, channels, BLOCK_C):
        channel = start + tl.arange(0, BLOCK_C)
        in_channels = channel < channels
        mask = in_pixels[:, None] & in_channels[None, :]
        value = _shifted(source, shift, channel, pixels, mask, in_channels, HAS_SHIFT)
        value = (value - mean) * factor
        scale = tl.load(weight + channel, mask=in_channels, other=0.0).to(tl.float32)
        g = tl.load(grads + channel[None, :], mask=mask, other=0.0).to(tl.float32)
        result = (g * scale[None, :] - total - value * along) * factor
        tl.store(
            grad_x + plane + (channel * pixels)[None, :],
            result.to(grad_x.dtype.element_ty),
            mask=mask,
        )
        tl.store(sums + channel, tl.sum(g * value, 0), mask=in_channels)
        tl.store(sums + channels + channel, tl.sum(g, 0), mask=in_channels)
        tl.store(sums + 2 * channels + channel, tl.sum(result, 0), mask=in_channels)


@triton.jit(do_not_specialize=_SIZES)
def residual_kernel(
    x, residual, scale, out, channels, pixels,
    ALIGN: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Add the scaled residual of a tile."""
    pixels = pixels // ALIGN * ALIGN
    image, pixel, in_pixels = _pixels(pixels, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_channels = channel < channels
    mask = in_pixels[:, None] & in_channels[None, :]
    plane = image * channels * pixels + (channel * pixels)[None, :] + pixel[:, None]
    last = (image * pixels + pixel[:, None]) * channels + channel[None, :]
    value = tl.load(residual + last, mask=mask, other=0.0).to(tl.float32)
    factor = tl.load(scale + image * channels + channel, mask=in_channels, other=0.0)
    value *= factor.to(tl.float32)[None, :]
    value += tl.load(x + plane, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + plane, value.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=_SIZES)
def residual_backward_kernel(
    grad, residual, scale, grad_residual, sums, channels, pixels,
    ALIGN: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute the residual's gradient, and sums over BLOCK_P pixels of the scale's."""
    pixels = pixels // ALIGN * ALIGN
    image, pixel, in_pixels = _pixels(pixels, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    in_channels = channel < channels
    mask = in_pixels[:, None] & in_channels[None, :]
    plane = image * channels * pixels + (channel * pixels)[None, :] + pixel[:, None]
    last = (image * pixels + pixel[:, None]) * channels + channel[None, :]
    g = tl.load(grad + plane, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(residual + last, mask=mask, other=0.0).to(tl.float32)
    factor = tl.load(scale + image * channels + channel, mask=in_channels, other=0.0)
    result = g * factor.to(tl.float32)[None, :]
    tl.store(grad_residual + last, result.to(grad_residual.dtype.element_ty), mask=mask)
    sums += tl.program_id(0).to(tl.int64) * channels
    tl.store(sums + channel, tl.sum(g * value, 0), mask=in_channels)


def block_of_pixels(images: int, pixels: int) -> int:
    """Return how many pixels a program takes: few where there would be few programs."""
    for size in (128, 64, 32):
        if size <= triton.next_power_of_2(pixels) and (
            images * triton.cdiv(pixels, size) >= 256
        ):
            return size
    return 16


def launch_norm(
    x: Tensor,
    shift: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    out: Tensor,
    means: Tensor,
    factors: Tensor,
    eps: float,
) -> None:
    """Fill ``out``, dense (N, H, W, C), and ``means`` and ``factors``, (N, H, W)."""
    grid, constants = _blocks(x)
    channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
    with torch.cuda.device_of(x):
        norm_kernel[grid](
            x, shift, weight, bias, out, means, factors, channels, pixels, eps,
            HAS_SHIFT=shift is not None, **constants,
        )  # fmt: skip


def launch_norm_backward(
    grad: Tensor,
    x: Tensor,
    shift: Tensor | None,
    weight: Tensor,
    means: Tensor,
    factors: Tensor,
    grad_x: Tensor,
) -> Tensor:
    """Fill ``grad_x``, dense NCHW.

    Returns:
        (3, C) in float32: the gradients of weight, bias and shift.
    """
    grid, constants = _blocks(x)
    channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
    sums = x.new_empty((grid[0], 3, channels), dtype=torch.float32)
    with torch.cuda.device_of(x):
        norm_backward_kernel[grid](
            grad, x, shift, weight, means, factors, grad_x, sums, channels, pixels,
            HAS_SHIFT=shift is not None, **constants,
        )  # fmt: skip
    return sums.sum(0)


def launch_residual(x: Tensor, residual: Tensor, scale: Tensor, out: Tensor) -> None:
    """Fill ``out``, dense NCHW."""
    (programs, _), constants = _blocks(x)
    channels, pixels = x.shape[1], x.shape[2] * x.shape[3]
    with torch.cuda.device_of(x):
        residual_kernel[programs, triton.cdiv(channels, BLOCK_C)](
            x, residual, scale, out, channels, pixels, **constants
        )


def launch_residual_backward(
    grad: Tensor, residual: Tensor, scale: Tensor, grad_residual: Tensor
) -> Tensor:
    """Fill ``grad_residual``, dense (N, H, W, C).

    Returns:
        (N, C) in float32: the gradient of the scale.
    """
    (programs, _), constants = _blocks(grad)
    images, channels, height, width = grad.shape
    sums = grad.new_empty((programs, channels), dtype=torch.float32)
    with torch.cuda.device_of(grad):
        residual_backward_kernel[programs, triton.cdiv(channels, BLOCK_C)](
            grad, residual, scale, grad_residual, sums, channels, height * width,
            **constants,
        )  # fmt: skip
    return sums.view(images, -1, channels).sum(1)


def _blocks(maps):
    """Return the programs for all pixels of ``maps``, and the kernels' constants."""
    images, pixels = maps.shape[0], maps.shape[2] * maps.shape[3]
    block = block_of_pixels(images, pixels)
    constants = dict(ALIGN=math.gcd(pixels, 8), BLOCK_P=block, BLOCK_C=BLOCK_C)
    return (images * triton.cdiv(pixels, block), 1), constants
