"""The Triton kernel behind ``backends/triton.py``; importing this needs Triton."""

import os

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def correlate_kernel(
    x, kernel, bias, out,
    batch, channels, height, width, kernel_height, kernel_width,
    out_height, out_width, pad_height, pad_width,
    x_stride_n, x_stride_c, x_stride_h, x_stride_w,
    kernel_stride_n, kernel_stride_c, kernel_stride_h, kernel_stride_w,
    out_stride_n, out_stride_c, out_stride_h, out_stride_w,
    IMAGES: tl.constexpr, HAS_BIAS: tl.constexpr, DTYPE: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A tile of BLOCK_H x BLOCK_W outputs of BLOCK_C channels, over IMAGES images.

    Each value of the input that is loaded serves BLOCK_H output rows: without this
    reuse the kernel would be bound by the bandwidth of the L1 cache.
    """
    program = tl.program_id(0)
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    column_tiles = tl.cdiv(out_width, BLOCK_W)
    row_tiles = tl.cdiv(out_height, BLOCK_H)
    channel = (program % channel_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    program = program // channel_blocks
    first_column = (program % column_tiles) * BLOCK_W
    program = program // column_tiles
    first_row = (program % row_tiles) * BLOCK_H
    group = program // row_tiles

    channel = channel[None, None, :]
    column = first_column + tl.arange(0, BLOCK_W)[None, :, None]
    tile_row = tl.arange(0, BLOCK_H)[:, None, None]
    in_channels = channel < channels
    first_input_row = tl.maximum(first_row - pad_height, 0)
    last_input_row = tl.minimum(
        first_row - pad_height + BLOCK_H + kernel_height - 1, height
    )
    total = tl.zeros((BLOCK_H, BLOCK_W, BLOCK_C), dtype=DTYPE)
    first_image = group.to(tl.int64) * IMAGES
    x_image = x + first_image * x_stride_n + channel * x_stride_c
    kernel_image = kernel + first_image * kernel_stride_n + channel * kernel_stride_c
    for _ in range(tl.minimum(IMAGES, batch - group * IMAGES)):
        for input_row in range(first_input_row, last_input_row):
            tap_row = input_row + pad_height - first_row - tile_row
            in_kernel = (tap_row >= 0) & (tap_row < kernel_height) & in_channels
            for tap_column in range(0, kernel_width):
                input_column = column + tap_column - pad_width
                in_map = (input_column >= 0) & (input_column < width) & in_channels
                value = tl.load(
                    x_image + input_row * x_stride_h + input_column * x_stride_w,
                    mask=in_map,
                    other=0.0,
                )
                tap = tl.load(
                    kernel_image
                    + tap_row * kernel_stride_h
                    + tap_column * kernel_stride_w,
                    mask=in_kernel,
                    other=0.0,
                )
                total += value.to(DTYPE) * tap.to(DTYPE)
        x_image += x_stride_n
        kernel_image += kernel_stride_n
    if HAS_BIAS:
        total += tl.load(bias + channel, mask=in_channels, other=0.0).to(DTYPE)
    row = first_row + tile_row
    tl.store(
        out
        + group.to(tl.int64) * out_stride_n
        + channel * out_stride_c
        + row * out_stride_h
        + column * out_stride_w,
        total.to(out.dtype.element_ty),
        mask=(row < out_height) & (column < out_width) & in_channels,
    )


def _autotuned(*blocks):
    """The kernel, tuned over (BLOCK_H, BLOCK_W, BLOCK_C, num_warps)."""
    if os.environ.get('TRITON_INTERPRET') == '1':
        blocks = blocks[:1]  # The interpreter has nothing to time.
    configs = [
        triton.Config(
            {'BLOCK_H': height, 'BLOCK_W': width, 'BLOCK_C': channels}, num_warps=warps
        )
        for height, width, channels, warps in blocks
    ]
    key = ['channels', 'height', 'width', 'kernel_height', 'kernel_width', 'IMAGES']
    return triton.autotune(configs=configs, key=key)(correlate_kernel)


# Consecutive threads take consecutive addresses: channels or columns.
CHANNELS_LAST = _autotuned(
    (4, 4, 32, 4), (4, 8, 32, 4), (8, 8, 32, 4), (8, 4, 32, 2), (8, 4, 64, 4),
    (16, 4, 32, 4), (8, 8, 64, 8), (4, 8, 64, 4), (2, 8, 64, 4),
)  # fmt: skip
NCHW = _autotuned(
    (8, 16, 1, 1), (8, 32, 1, 1), (16, 32, 1, 2), (8, 64, 1, 2), (16, 64, 1, 4),
    (8, 8, 4, 2), (16, 16, 4, 4), (4, 32, 4, 4), (32, 32, 1, 4),
)  # fmt: skip


def launch(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    out: Tensor,
    padding: list[int],
    images_per_program: int,
):
    """Fill ``out`` with the correlation of ``x`` and ``kernel``.

    Args:
        x: Maps, (N, C, H, W), any strides.
        kernel: Kernels, (N, C, h, w) or (1, C, h, w), any strides.
        bias: Added to each channel, (C,).
        out: Filled; (N / images_per_program rounded up, C, H', W'): image i belongs to
            row ``i // images_per_program``, and those of a row are summed.
        padding: Zeros on either side, (rows, columns), or negative.
        images_per_program: How many images are summed.
    """
    if out.numel() == 0:
        return
    tuned = CHANNELS_LAST if x.stride(1) == 1 and x.shape[1] > 1 else NCHW
    kernel_strides = list(kernel.stride())
    if kernel.shape[0] == 1:
        kernel_strides[0] = 0

    def grid(blocks):
        return (
            out.shape[0]
            * triton.cdiv(out.shape[2], blocks['BLOCK_H'])
            * triton.cdiv(out.shape[3], blocks['BLOCK_W'])
            * triton.cdiv(out.shape[1], blocks['BLOCK_C']),
        )

    with torch.cuda.device_of(x):
        tuned[grid](
            x, kernel, bias, out,
            *x.shape, *kernel.shape[2:], *out.shape[2:], *padding,
            *x.stride(), *kernel_strides, *out.stride(),
            IMAGES=images_per_program,
            HAS_BIAS=bias is not None,
            DTYPE=tl.float64 if x.dtype == torch.float64 else tl.float32,
        )  # fmt: skip
