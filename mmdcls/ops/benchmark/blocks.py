"""Launches of the Triton kernels with several sizes of blocks."""

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mmdcls.ops.backends import toeplitz, triton

# As the constants of the kernels' modules.
_EXACT = ((16, 32, 2), (8, 32, 2), (16, 32, 4), (32, 32, 4), (4, 128, 1), (16, 64, 4))
_CORRELATE = (
    (64, 8, 4, 3), (64, 8, 4, 2), (64, 8, 4, 4), (64, 4, 4, 3), (64, 8, 8, 3),
    (32, 8, 4, 3), (128, 8, 8, 3), (128, 4, 4, 3), (64, 16, 8, 3),
)  # fmt: skip
_SUM = (
    (128, 8, 64, 8, 3), (128, 8, 64, 8, 2), (128, 8, 128, 8, 2), (128, 4, 64, 4, 3),
    (64, 8, 64, 4, 3), (256, 8, 64, 8, 3), (128, 16, 64, 8, 3),
)  # fmt: skip


def launches(
    x: Tensor, kernel_size: int
) -> Iterator[tuple[str, tuple[int, ...], Callable[[], object]]]:
    """Each kernel's name, blocks, and a function that launches it on ``x``.

    Args:
        x: Maps, (N, C, H, W); their format does not count.
        kernel_size: Of the square kernel, which is cut to what the maps can meet.
    """
    from mmdcls.ops.backends import toeplitz_kernels, triton_kernels

    k = [min(kernel_size, 2 * extent - 1) for extent in x.shape[2:]]
    padding = [size // 2 for size in k]
    weight = torch.randn(x.shape[1], 1, *k, device=x.device).to(x.dtype)
    last = x.permute(0, 2, 3, 1).contiguous()
    taps = weight[:, 0].permute(1, 2, 0).contiguous()
    for configuration in _EXACT:
        run = functools.partial(
            triton_kernels.launch,
            *(last, taps, None, torch.empty_like(last), padding),
            blocks=configuration,
        )
        if triton.can_run('forward', x, k, padding):
            yield 'triton', configuration, run
    if not toeplitz.can_run('forward', x, k, padding):
        return
    x = x.contiguous()
    for configuration in _CORRELATE:
        run = functools.partial(
            toeplitz_kernels.launch,
            *(x, weight, None, torch.empty_like(x), padding),
            blocks=configuration,
        )
        yield 'toeplitz', configuration, run
    for configuration in _SUM:
        run = functools.partial(
            toeplitz_kernels.launch_sum, x, x, k, padding, blocks=configuration
        )
        yield 'toeplitz, gradient of the weight', configuration, run
