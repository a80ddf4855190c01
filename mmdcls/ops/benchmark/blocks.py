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
    """Yield each kernel's name, blocks, and a function that launches it on ``x``.

    Args:
        x: Maps, (N, C, H, W); their format does not count.
        kernel_size: The size of the square kernel, which is cut to what the maps can
            meet.
    """
    from mmdcls.ops.backends import toeplitz_kernels, triton_kernels

    rows, columns = (min(kernel_size, 2 * extent - 1) for extent in x.shape[2:])
    k, padding = (rows, columns), (rows // 2, columns // 2)
    weight = torch.randn(x.shape[1], 1, *k, device=x.device).to(x.dtype)
    last = x.permute(0, 2, 3, 1).contiguous()
    taps = weight[:, 0].permute(1, 2, 0).contiguous()
    if triton.can_run('forward', x, k, padding):
        launch: Callable[..., object] = functools.partial(
            triton_kernels.launch, last, taps, None, torch.empty_like(last), padding
        )
        yield from _with_blocks('triton', launch, _EXACT)
    if toeplitz.can_run('forward', x, k, padding):
        x = x.contiguous()
        launch = functools.partial(
            toeplitz_kernels.launch, x, weight, None, torch.empty_like(x), padding
        )
        yield from _with_blocks('toeplitz', launch, _CORRELATE)
        launch = functools.partial(toeplitz_kernels.launch_sum, x, x, k, padding)
        yield from _with_blocks('toeplitz, gradient of the weight', launch, _SUM)


def _with_blocks(
    kernel: str, launch: Callable[..., object], all_blocks: tuple
) -> Iterator[tuple[str, tuple[int, ...], Callable[[], object]]]:
    for blocks in all_blocks:
        yield kernel, blocks, functools.partial(launch, blocks=blocks)
