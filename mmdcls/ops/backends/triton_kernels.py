"""The exact Triton kernel behind ``backends/triton.py``; importing this needs Triton.

Maps are dense (N, H, W, C), so that consecutive threads have consecutive channels, and
taps are laid out as the maps are: a tile of one input row is multiplied with the taps
of four output rows, which lie in registers as four sums. No value is exchanged between
threads.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

# What images of many sizes must not make the kernel be compiled anew for; the number of
# channels is not among them, for its divisibility makes loads of 16 bytes.
_SIZES = (
    'batch', 'height', 'width', 'tap_rows', 'tap_columns', 'out_height', 'out_width',
    'pad_height', 'pad_width', 'images_per_program', 'rows_per_program',
)  # fmt: skip


@triton.jit(do_not_specialize=_SIZES)
def correlate_kernel(
    x, taps, bias, out,
    batch, channels, height, width, tap_rows, tap_columns, out_height, out_width,
    pad_height, pad_width, images_per_program, rows_per_program,
    TAPS_PER_IMAGE: tl.constexpr, FLIP: tl.constexpr, HAS_BIAS: tl.constexpr,
    DTYPE: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute four rows x BLOCK_W columns of outputs of BLOCK_C channels.

    Summed are the products with ``rows_per_program`` input rows of
    ``images_per_program`` images.
    """
    program = tl.program_id(0)
    channel_blocks = tl.cdiv(channels, BLOCK_C)
    column_tiles = tl.cdiv(out_width, BLOCK_W)
    row_tiles = tl.cdiv(out_height, 4)
    row_splits = tl.cdiv(height, rows_per_program)
    channel = (program % channel_blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    program = program // channel_blocks
    column = (program % column_tiles) * BLOCK_W + tl.arange(0, BLOCK_W)
    program = program // column_tiles
    first_row = (program % row_tiles) * 4
    group = (program // row_tiles).to(tl.int64)
    split_begin = (group % row_splits).to(tl.int32) * rows_per_program
    first_image = (group // row_splits) * images_per_program

    in_channels = (channel < channels)[None, :]
    sum0 = tl.zeros((BLOCK_W, BLOCK_C), dtype=DTYPE)
    sum1 = tl.zeros((BLOCK_W, BLOCK_C), dtype=DTYPE)
    sum2 = tl.zeros((BLOCK_W, BLOCK_C), dtype=DTYPE)
    sum3 = tl.zeros((BLOCK_W, BLOCK_C), dtype=DTYPE)
    tap_stride = tap_columns * channels
    begin = tl.maximum(tl.maximum(first_row - pad_height, 0), split_begin)
    end = tl.minimum(first_row - pad_height + 3 + tap_rows, height)
    end = tl.minimum(end, split_begin + rows_per_program)
    for image in range(
        first_image, tl.minimum(first_image + images_per_program, batch)
    ):
        x_image = x + image * height * width * channels + channel[None, :]
        taps_image = taps + channel[None, :]
        if TAPS_PER_IMAGE:
            taps_image += image * tap_rows * tap_stride
        for input_row in range(begin, end):
            # The tap row of the first of the four sums; the others have those before.
            t = input_row + pad_height - first_row
            in_taps0 = in_channels & (t >= 0) & (t < tap_rows)
            in_taps1 = in_channels & (t >= 1) & (t < tap_rows + 1)
            in_taps2 = in_channels & (t >= 2) & (t < tap_rows + 2)
            in_taps3 = in_channels & (t >= 3) & (t < tap_rows + 3)
            source = x_image + input_row * width * channels
            step = tap_stride
            if FLIP:
                t = tap_rows - 1 - t
                step = -tap_stride
            tap_row = taps_image + t * tap_stride
            for j in range(0, tap_columns):
                input_column = column - pad_width + j
                in_map = (input_column >= 0) & (input_column < width)
                value = tl.load(
                    source + (input_column * channels)[:, None],
                    mask=in_map[:, None] & in_channels,
                    other=0.0,
                ).to(DTYPE)
                tap_column = tap_columns - 1 - j if FLIP else j
                tap = tap_row + tap_column * channels
                sum0 += value * tl.load(tap, mask=in_taps0, other=0.0).to(DTYPE)
                tap -= step
                sum1 += value * tl.load(tap, mask=in_taps1, other=0.0).to(DTYPE)
                tap -= step
                sum2 += value * tl.load(tap, mask=in_taps2, other=0.0).to(DTYPE)
                tap -= step
                sum3 += value * tl.load(tap, mask=in_taps3, other=0.0).to(DTYPE)
    if HAS_BIAS:
        shift = tl.load(bias + channel, mask=channel < channels, other=0.0)
        shift = shift.to(DTYPE)[None, :]
        sum0 += shift
        sum1 += shift
        sum2 += shift
        sum3 += shift
    out_stride = out_width * channels
    target = out + (group * out_height + first_row) * out_stride
    target += (column * channels)[:, None] + channel[None, :]
    mask = (column < out_width)[:, None] & in_channels
    dtype = out.dtype.element_ty
    tl.store(target, sum0.to(dtype), mask=mask)
    target += out_stride
    tl.store(target, sum1.to(dtype), mask=mask & (first_row + 1 < out_height))
    target += out_stride
    tl.store(target, sum2.to(dtype), mask=mask & (first_row + 2 < out_height))
    target += out_stride
    tl.store(target, sum3.to(dtype), mask=mask & (first_row + 3 < out_height))


# Most products for each value that is loaded, with all loads of 16 bytes and no value
# exchanged between threads, which the compiled code is tested for.
# (BLOCK_W at most, BLOCK_C, number of warps)
BLOCKS = (16, 32, 2)


def launch(
    x: Tensor,
    taps: Tensor,
    bias: Tensor | None,
    out: Tensor,
    padding: Sequence[int],
    *,
    flip: bool = False,
    images_per_program: int = 1,
    rows_per_program: int | None = None,
    blocks: tuple[int, int, int] = BLOCKS,
) -> None:
    """Fill ``out`` with the correlation of ``x`` and ``taps``.

    All are dense, channels last.

    Args:
        x: Maps, (N, H, W, C).
        taps: One kernel for all images, (h, w, C), or one for each, (N, h, w, C).
        bias: Added to each channel, (C,).
        out: Filled; (groups, H', W', C), a group being ``rows_per_program`` input rows
            of ``images_per_program`` images, whose products are summed.
        padding: Zeros on either side, (rows, columns), or negative.
        flip: Turn the taps by half a turn.
        images_per_program: The number of images that a program sums.
        rows_per_program: The number of input rows that it sums; None stands for all of
            an image.
        blocks: Columns and channels of a program, and its number of warps.
    """
    if out.numel() == 0:
        return
    columns, channels, warps = blocks
    groups, out_height, out_width, _ = out.shape
    if 2 * out_width <= columns:
        columns //= 2
    programs = triton.cdiv(out.shape[3], channels) * triton.cdiv(out_width, columns)
    programs *= triton.cdiv(out_height, 4) * groups
    batch, height, width, _ = x.shape
    with torch.cuda.device_of(x):
        correlate_kernel[(programs,)](
            x, taps, bias, out,
            batch, x.shape[3], height, width, *taps.shape[-3:-1], out_height, out_width,
            *padding, images_per_program, rows_per_program or height,
            TAPS_PER_IMAGE=taps.dim() == 4, FLIP=flip, HAS_BIAS=bias is not None,
            DTYPE=tl.float64 if x.dtype == torch.float64 else tl.float32,
            BLOCK_W=columns, BLOCK_C=channels, num_warps=warps,
        )  # fmt: skip
