"""How far from the centre of their kernel positions may be."""

from collections.abc import Sequence

from torch import Tensor


def position_limits(positions: Tensor, dilated_kernel_size: Sequence[int]) -> Tensor:
    """Return the largest absolute positions on the kernel, ``size // 2``, in pixels.

    Args:
        positions: ``(d, ...)``; the limits have its dtype and device.
        dilated_kernel_size: The ``d`` sizes of the kernel.

    Returns:
        ``(d, 1, ...)``, with as many axes as ``positions``.
    """
    limits = positions.new_tensor([size // 2 for size in dilated_kernel_size])
    return limits.view(-1, *[1] * (positions.ndim - 1))
