"""Depthwise correlation on tensor cores; importing this needs Triton.

A channel is a product with a block-Toeplitz matrix. Output rows are
``h = BLOCK_H * m + s``, output columns come in tiles of 16. For each offset ``t`` of an
input row from the first output row of its block::

    out[(m, n), (s, w)] += X[(m, n), u] @ B_t[u, (s, w)]
    X[(m, n), u] = x[n, c, BLOCK_H * m + t - padding, first column + u]
    B_t[u, (s, w)] = weight[c, t - s, u - w - offset]    (0 outside of the kernel)

A row of the map is read ``(BLOCK_H + h - 1) / BLOCK_H`` times instead of ``h`` times,
and pairs of a row block and an image are the rows of the product: those of one large
map fill it as well as those of many small ones. ``B_t`` comes from a table
``[c, i, u, w] = weight[c, i, u - w - offset]``. The gradient of the weight is that of
``B_t``, summed along its diagonals.

Maps are dense (N, C, H, W), so that rows are read in whole cache lines.
"""

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .gpu import is_interpreted

# Columns of a tile.
TILE = tl.constexpr(16)

# What images of many sizes must not make the kernels be compiled anew for: what matters
# of the widths, the alignment of rows, is in ALIGN.
_SIZES = (
    'batch', 'channels', 'height', 'width', 'tap_rows', 'tap_columns', 'out_height',
    'out_width', 'pad_height', 'steps', 'blocks_per_program',
)  # fmt: skip


@triton.jit
def table_kernel(
    weight, table, tap_rows, tap_columns,
    OFFSET: tl.constexpr, SPAN: tl.constexpr, COLUMNS_FIRST: tl.constexpr,
    FLIP: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Write 16 x 16 entries of the table for one row of taps of one channel."""
    row = (tl.program_id(0) // (SPAN // TILE)).to(tl.int64)
    index = tl.arange(0, TILE * TILE)
    u = (tl.program_id(0) % (SPAN // TILE)) * TILE + index // TILE
    w = index % TILE
    target = w * SPAN + u if COLUMNS_FIRST else u * TILE + w
    tap = u - w - OFFSET
    inside = (tap >= 0) & (tap < tap_columns)
    source = row
    if FLIP:
        source = (row // tap_rows) * tap_rows + tap_rows - 1 - row % tap_rows
        tap = tap_columns - 1 - tap
    value = tl.load(weight + source * tap_columns + tap, mask=inside, other=0.0)
    tl.store(table + row * (SPAN * TILE) + target, value)


@triton.jit(do_not_specialize=_SIZES)
def correlate_kernel(
    x, table, bias, out,
    batch, channels, height, width, tap_rows, out_height, out_width, pad_height,
    SHIFT: tl.constexpr, SPAN: tl.constexpr, ALIGN: tl.constexpr,
    OUT_ALIGN: tl.constexpr, COLUMNS_FIRST: tl.constexpr, ROWS_FIRST: tl.constexpr,
    HAS_BIAS: tl.constexpr, UPCAST: tl.constexpr, BLOCK_M: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Compute a tile of BLOCK_M blocks of BLOCK_H rows x 16 columns of one channel."""
    # Tells how wide loads and stores may be.
    width = width // ALIGN * ALIGN
    out_width = out_width // OUT_ALIGN * OUT_ALIGN
    column_tiles = tl.cdiv(out_width, TILE)
    row_blocks = tl.cdiv(out_height, BLOCK_H)
    program = tl.program_id(0)
    tile = program % column_tiles
    program = program // column_tiles
    channel = program % channels
    first = (program // channels) * BLOCK_M

    index = first + tl.arange(0, BLOCK_M)
    if ROWS_FIRST:  # Row blocks of an image together: the cache serves its rows again.
        image = index // row_blocks
        block = index % row_blocks
        valid = image < batch
        first_block, last_block = 0, row_blocks - 1
    else:  # Images of a row block together: steps that see padding only are left out.
        image = index % batch
        block = index // batch
        valid = block < row_blocks
        first_block = first // batch
        last_block = tl.minimum((first + BLOCK_M - 1) // batch, row_blocks - 1)
    begin = tl.maximum(0, pad_height - last_block * BLOCK_H)
    end = height + pad_height - first_block * BLOCK_H
    end = tl.minimum(tap_rows + BLOCK_H - 1, end)

    plane = image.to(tl.int64) * channels + channel
    x_plane = x + plane * height * width
    first_row = block * BLOCK_H - pad_height
    u = tl.arange(0, BLOCK_K)
    n = tl.arange(0, BLOCK_H * TILE)
    s, w = n // TILE, n % TILE
    if COLUMNS_FIRST:
        within = w[None, :] * SPAN + u[:, None]
        chunk_stride: tl.constexpr = 1
    else:
        within = u[:, None] * TILE + w[None, :]
        chunk_stride: tl.constexpr = TILE  # type: ignore[no-redef]
    first_tap = table + channel.to(tl.int64) * tap_rows * (SPAN * TILE)
    first_tap = first_tap + within - s[None, :] * (SPAN * TILE)
    total = tl.zeros((BLOCK_M, BLOCK_H * TILE), dtype=tl.float32)
    CHUNKS: tl.constexpr = SPAN // BLOCK_K
    for iteration in range(begin * CHUNKS, end * CHUNKS):
        t = iteration // CHUNKS
        chunk = (iteration % CHUNKS) * BLOCK_K
        row = first_row + t
        column = tile * TILE - SHIFT + chunk + u
        in_rows = valid & (row >= 0) & (row < height)
        in_columns = (column >= 0) & (column < width)
        values = tl.load(
            x_plane[:, None] + (row * width)[:, None] + column[None, :],
            mask=in_rows[:, None] & in_columns[None, :],
            other=0.0,
        )
        in_taps = (t >= s) & (t < s + tap_rows)
        taps = tl.load(
            first_tap + t * (SPAN * TILE) + chunk * chunk_stride,
            mask=in_taps[None, :],
            other=0.0,
        )
        if UPCAST:
            values, taps = values.to(tl.float32), taps.to(tl.float32)
        total = tl.dot(values, taps, total, input_precision='tf32')
    if HAS_BIAS:
        total += tl.load(bias + channel).to(tl.float32)
    out_row = block[:, None] * BLOCK_H + s[None, :]
    out_column = tile * TILE + w
    in_out = (out_row < out_height) & (out_column < out_width)[None, :]
    out_plane = out + plane * out_height * out_width
    tl.store(
        out_plane[:, None] + (out_row * out_width + out_column[None, :]),
        total.to(out.dtype.element_ty),
        mask=valid[:, None] & in_out,
    )


@triton.jit(do_not_specialize=_SIZES)
def sum_kernel(
    x, grad_output, out,
    batch, channels, height, width, out_height, out_width, tap_columns, pad_height,
    steps, blocks_per_program,
    SHIFT: tl.constexpr, OFFSET: tl.constexpr, SPAN: tl.constexpr, ALIGN: tl.constexpr,
    OUT_ALIGN: tl.constexpr, UPCAST: tl.constexpr, BLOCK_T: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_R: tl.constexpr, TAPS: tl.constexpr,
    TILE: tl.constexpr,
):  # fmt: skip
    """Sum the gradient of ``B_t`` along diagonals, to ``out[split, c, t, s, j]``.

    P[(t, u), (s, w)] is the sum over (m, n) of
    X[n, BLOCK_H * m + t - padding, u] * G[n, BLOCK_H * m + s, w]; a split has its part
    of the pairs (m, n).
    """
    width = width // ALIGN * ALIGN
    out_width = out_width // OUT_ALIGN * OUT_ALIGN
    program = tl.program_id(0)
    step_blocks = tl.cdiv(steps, BLOCK_T)
    first_t = (program % step_blocks) * BLOCK_T
    program = program // step_blocks
    channel = program % channels
    split = program // channels

    a = tl.arange(0, BLOCK_T * SPAN)
    b = tl.arange(0, BLOCK_H * TILE)
    t, u = a // SPAN, a % SPAN
    s, w = b // TILE, b % TILE
    row_blocks = tl.cdiv(out_height, BLOCK_H)
    lane = tl.arange(0, BLOCK_R)
    begin = split * blocks_per_program * BLOCK_R
    end = tl.minimum(begin + blocks_per_program * BLOCK_R, row_blocks * batch)
    count = tl.cdiv(tl.maximum(end - begin, 0), BLOCK_R)
    total = tl.zeros((BLOCK_T * SPAN, BLOCK_H * TILE), dtype=tl.float32)
    for tile in range(tl.cdiv(out_width, TILE)):
        column = tile * TILE - SHIFT + u
        out_column = tile * TILE + w
        in_columns = ((column >= 0) & (column < width))[None, :]
        in_out_columns = (out_column < out_width)[None, :]
        image = (begin + lane) % batch
        block = (begin + lane) // batch
        for iteration in range(count):
            valid = (begin + iteration * BLOCK_R + lane < end)[:, None]
            plane = image.to(tl.int64) * channels + channel
            first_row = block * BLOCK_H
            row = (first_row - pad_height + first_t)[:, None] + t[None, :]
            values = tl.load(
                x + (plane * height * width)[:, None] + row * width + column[None, :],
                mask=valid & (row >= 0) & (row < height) & in_columns,
                other=0.0,
            )
            out_row = first_row[:, None] + s[None, :]
            source = grad_output + (plane * out_height * out_width)[:, None]
            grads = tl.load(
                source + out_row * out_width + out_column[None, :],
                mask=valid & (out_row < out_height) & in_out_columns,
                other=0.0,
            )
            if UPCAST:
                values, grads = values.to(tl.float32), grads.to(tl.float32)
            total = tl.dot(tl.trans(values), grads, total, input_precision='tf32')
            # The next BLOCK_R pairs.
            image += BLOCK_R % batch
            block += BLOCK_R // batch + (image >= batch).to(tl.int32)
            image = tl.where(image >= batch, image - batch, image)
    # [t, j, s, w] = total[t, j + w + OFFSET, s, w], summed over w.
    total = tl.reshape(total, (BLOCK_T, SPAN, BLOCK_H, TILE))
    j = tl.arange(0, TAPS)
    diagonal = (j[:, None] + tl.arange(0, TILE)[None, :] + OFFSET)[None, :, None, :]
    diagonal = tl.broadcast_to(diagonal, (BLOCK_T, TAPS, BLOCK_H, TILE))
    inside = (diagonal >= 0) & (diagonal < SPAN)
    taken = tl.gather(total, tl.where(inside, diagonal, 0), axis=1)
    taken = tl.sum(tl.where(inside, taken, 0.0), axis=3)
    t = first_t + tl.arange(0, BLOCK_T)[:, None, None]
    s = tl.arange(0, BLOCK_H)[None, None, :]
    j = j[None, :, None]
    target = out + (split.to(tl.int64) * channels + channel) * steps * (
        BLOCK_H * tap_columns
    )
    tl.store(
        target + (t * BLOCK_H + s) * tap_columns + j,
        taken,
        mask=(t < steps) & (j < tap_columns),
    )


# Triton's interpreter takes the bits of a bfloat16 for an integer in a product.
UPCAST = is_interpreted()

# As large as leaves the sums in registers, which the compiled code is tested for.
# (BLOCK_M at most, BLOCK_H, number of warps, stages)
CORRELATE_BLOCKS = (64, 8, 4, 3)
# (BLOCK_T * SPAN, BLOCK_H, bytes of BLOCK_R values, number of warps, stages)
SUM_BLOCKS = (128, 8, 64, 8, 3)

# Enough programs of a weight gradient to fill a device, with few partial results.
_PROGRAMS = 1024


def launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out: Tensor,
    padding: Sequence[int],
    *,
    flip: bool = False,
    blocks: tuple[int, int, int, int] = CORRELATE_BLOCKS,
) -> None:
    """Fill ``out`` with the correlation of each channel of ``x`` and its kernel.

    Args:
        x: Maps, dense (N, C, H, W).
        weight: Kernels, dense (C, 1, h, w).
        bias: Added to each channel, (C,).
        out: Filled; dense (N, C, H + 2 * padding - h + 1, W + 2 * padding - w + 1).
        padding: Zeros on either side, (rows, columns), or negative.
        flip: Turn the kernels by half a turn first.
        blocks: Row blocks and rows of each of a program, its warps, its stages.
    """
    if out.numel() == 0:
        return
    block_m, block_h, warps, stages = blocks
    batch, channels, height, width = x.shape
    tap_rows, tap_columns = weight.shape[2:]
    out_height, out_width = out.shape[2:]
    shift, span, offset = window(width, tap_columns, padding[1], out_width)
    # In this order TF32 tensor cores of Hopper can read the table as it lies.
    columns_first = x.dtype == torch.float32
    table = weight.new_empty(channels, tap_rows, span * TILE.value)
    row_blocks = triton.cdiv(out_height, block_h)
    out_align = alignment(out_width, x.dtype)
    if out_align == 1:
        # Values are stored one by one, and the address of each takes two registers.
        block_m //= 2
    block_m = block_m if row_blocks * batch > 16 else 16
    programs = triton.cdiv(out_width, TILE.value) * channels
    programs *= triton.cdiv(row_blocks * batch, block_m)
    with torch.cuda.device_of(x):
        table_kernel[(channels * tap_rows * span // TILE.value,)](
            weight, table, tap_rows, tap_columns,
            OFFSET=offset, SPAN=span, COLUMNS_FIRST=columns_first, FLIP=flip, TILE=TILE,
        )  # fmt: skip
        correlate_kernel[(programs,)](
            x, table, bias, out,
            batch, channels, height, width, tap_rows, out_height, out_width, padding[0],
            SHIFT=shift, SPAN=span, ALIGN=alignment(width, x.dtype),
            OUT_ALIGN=out_align, COLUMNS_FIRST=columns_first, ROWS_FIRST=row_blocks > 4,
            HAS_BIAS=bias is not None, UPCAST=UPCAST, BLOCK_M=block_m,
            BLOCK_H=block_h, BLOCK_K=32 if span % 32 == 0 else 16, TILE=TILE,
            num_warps=warps, num_stages=stages,
        )  # fmt: skip


def launch_sum(
    x: Tensor,
    grad_output: Tensor,
    kernel_size: tuple[int, int],
    padding: Sequence[int],
    *,
    blocks: tuple[int, int, int, int, int] = SUM_BLOCKS,
) -> Tensor:
    """Compute parts of the gradient of the weight.

    Args:
        x: Maps, dense (N, C, H, W).
        grad_output: Dense (N, C, H', W').
        kernel_size: Rows and columns of the kernel.
        padding: Zeros on either side, (rows, columns).
        blocks: Rows of the product of a program, output rows of a block, bytes that a
            step reads for each of these, warps, stages.

    Returns:
        (parts, C, rows, ``BLOCK_H``, columns) in float32, a view; its sum over the
        axes 0 and 3 is the gradient.
    """
    product_rows, block_h, block_bytes, warps, stages = blocks
    block_r = block_bytes // x.dtype.itemsize
    batch, channels, height, width = x.shape
    out_height, out_width = grad_output.shape[2:]
    rows, columns = kernel_size
    shift, span, offset = window(width, columns, padding[1], out_width)
    span = triton.next_power_of_2(span)
    block_t = max(1, product_rows // span)
    steps = rows + block_h - 1
    blocks_in_all = triton.cdiv(triton.cdiv(out_height, block_h) * batch, block_r)
    programs = triton.cdiv(steps, block_t) * channels
    splits = max(1, min(blocks_in_all, _PROGRAMS // programs))
    blocks_per_program = triton.cdiv(blocks_in_all, splits)
    splits = triton.cdiv(blocks_in_all, max(1, blocks_per_program))
    out = x.new_empty((splits, channels, steps, block_h, columns), dtype=torch.float32)
    if out.numel():
        with torch.cuda.device_of(x):
            sum_kernel[(programs * splits,)](
                x, grad_output, out,
                batch, channels, height, width, out_height, out_width, columns,
                padding[0], steps, blocks_per_program,
                SHIFT=shift, OFFSET=offset, SPAN=span,
                ALIGN=alignment(width, x.dtype),
                OUT_ALIGN=alignment(out_width, x.dtype), UPCAST=UPCAST,
                BLOCK_T=block_t, BLOCK_H=block_h, BLOCK_R=block_r,
                TAPS=triton.next_power_of_2(columns), TILE=TILE,
                num_warps=warps, num_stages=stages,
            )  # fmt: skip
    # Step t = i + s has the products of tap row i with output row s of a block.
    stride = out.stride()
    return out.as_strided(
        (splits, channels, rows, block_h, columns),
        (stride[0], stride[1], stride[2], stride[2] + stride[3], 1),
    )


def window(
    width: int, tap_columns: int, padding: int, out_width: int
) -> tuple[int, int, int]:
    """Return the input columns that a tile of output columns reads.

    Returns:
        The number of columns before the tile at which they begin, the number of
        columns, and the one among them, less the output column, that meets tap column
        0.
    """
    tile = TILE.value
    if width <= tile and out_width <= tile:
        return 0, tile, -padding
    shift = -(-padding // 8) * 8  # Windows begin where loads of 16 bytes may.
    offset = shift - padding
    return shift, -(-(offset + tap_columns + tile - 1) // 16) * 16, offset


def alignment(width: int, dtype: torch.dtype) -> int:
    """Return how many values, up to 16 bytes, every row holds a whole number of."""
    return math.gcd(width, 16 // dtype.itemsize)
