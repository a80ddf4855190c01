"""What the convolutions take at least on a GPU, by a model: nothing is measured.

A time here is the longest of what the memory, the caches and the load units need for
what a kernel reads, all else being hidden; no latency counts, so that it is a lower
bound. What the Triton kernels read is counted as their programs go; PyTorch's depthwise
kernel loads both factors of each product, one warp at a time.
"""

from dataclasses import dataclass

from mmdcls.files import markdown_table

from .layers import KERNEL_SIZE, STAGES, taps_inside

# As in the Triton kernels' modules, which cannot be imported without Triton: columns of
# a tile; row blocks and rows of a program; of a weight gradient, the rows of a product,
# and the pairs of a row block and an image that a step sums.
_TILE, _BLOCK_M, _BLOCK_H = 16, 64, 8
_PRODUCT_ROWS, _BLOCK_R = 128, 32
_BYTES = 2
_DEPTHS = 3, 3, 9, 3


@dataclass(frozen=True)
class GPU:
    """What a GPU can do.

    Attributes:
        name: Its name.
        multiprocessors: Their number.
        clock: Cycles per second.
        cache_bytes: Bytes that a multiprocessor reads from the second-level cache in a
            cycle.
        bandwidth: Bytes per second of its memory.
    """

    name: str
    multiprocessors: int
    clock: float
    cache_bytes: float
    bandwidth: float

    @property
    def cache_bandwidth(self) -> float:
        """Return the bytes per second from the second-level cache."""
        return self.multiprocessors * self.clock * self.cache_bytes


GPUS = (
    GPU('H100', 132, 1.755e9, 24.6, 3.0e12),
    GPU('A100', 108, 1.41e9, 30.0, 1.4e12),
)
"""Assumed: base clocks, and rates as others have measured them."""


def aten_seconds(gpu: GPU, images: int, channels: int, size: int, kernel: int) -> float:
    """Return the time of PyTorch's depthwise kernel on NCHW maps."""
    products = images * channels * taps_inside(size, kernel) ** 2
    loads = 2 * products / 32
    return loads / (gpu.multiprocessors * gpu.clock)


def toeplitz_seconds(gpu: GPU, images: int, channels: int, size: int) -> float:
    """Return the time of ``toeplitz``, forward or gradient of the input."""
    kernel, span = _kernel_and_span(size)
    blocks = -(-size // _BLOCK_H)
    padding, steps = kernel // 2, 0
    if blocks > 4:  # A program has all row blocks of an image, or those of several.
        steps = (kernel + _BLOCK_H - 1) * -(-blocks * images // _BLOCK_M)
    else:  # It has images of one row block, and no steps that see padding alone.
        for block in range(blocks):
            begin = max(0, padding - block * _BLOCK_H)
            end = min(kernel + _BLOCK_H - 1, size + padding - block * _BLOCK_H)
            steps += (end - begin) * images / _BLOCK_M
    read = span * (_BLOCK_M + _BLOCK_H * _TILE) * _BYTES
    tiles = -(-size // _TILE)
    return _longest(gpu, steps * tiles * channels * read, images, channels, size)


def toeplitz_sum_seconds(gpu: GPU, images: int, channels: int, size: int) -> float:
    """Return the time of ``toeplitz``'s gradient of the weight."""
    kernel, span = _kernel_and_span(size)
    step_blocks = -(-(kernel + _BLOCK_H - 1) // (_PRODUCT_ROWS // span))
    pairs = -(-(-(-size // _BLOCK_H) * images) // _BLOCK_R)
    read = _BLOCK_R * (_PRODUCT_ROWS + _BLOCK_H * _TILE) * _BYTES
    total = step_blocks * pairs * -(-size // _TILE) * channels * read
    return _longest(gpu, total, images, channels, size)


def conversion_seconds(gpu: GPU, images: int, channels: int, size: int) -> float:
    """Return the time of a pass that reads all maps and writes them."""
    return 2 * images * channels * size**2 * _BYTES / gpu.bandwidth


def _kernel_and_span(size):
    kernel = min(KERNEL_SIZE, 2 * size - 1)
    return kernel, 16 if size <= _TILE else 32


def _longest(gpu, cache_bytes, images, channels, size):
    memory = conversion_seconds(gpu, images, channels, size)
    return max(cache_bytes / gpu.cache_bandwidth, memory)


def to_markdown(images: int = 64) -> str:
    """Format the model's times of the stages of ConvNeXt-T as a Markdown table.

    Args:
        images: Number of images in a batch.
    """
    rows = []
    for gpu in GPUS:
        columns = [
            (
                aten_seconds(gpu, images, channels, size, 7),
                aten_seconds(gpu, images, channels, size, KERNEL_SIZE),
                toeplitz_seconds(gpu, images, channels, size),
                toeplitz_sum_seconds(gpu, images, channels, size),
                conversion_seconds(gpu, images, channels, size),
            )
            for channels, size in STAGES
        ]
        for (channels, size), times in zip(STAGES, columns, strict=True):
            rows.append([gpu.name, f'{channels}x{size}x{size}', *_microseconds(times)])
        total = [
            sum(depth * times[i] for depth, times in zip(_DEPTHS, columns, strict=True))
            for i in range(len(columns[0]))
        ]
        rows.append([gpu.name, 'all 18 blocks', *_microseconds(total)])
    header = ['GPU', 'maps', 'aten 7x7', 'aten', 'toeplitz']
    header += ['toeplitz, gradient of the weight', 'a conversion']
    return markdown_table(header, rows)


def _microseconds(times):
    return [f'{1e6 * seconds:.0f}' for seconds in times]
