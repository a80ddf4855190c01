"""The loss that keeps kernel elements apart."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmdcls.errors import ArgumentError

from .base import iter_dcls_layers


def repulsion(positions: Tensor) -> Tensor:
    """Average the overlap of the pairs of elements of a kernel, over all kernels.

    After Thomas et al. (2019), as the authors of DCLS train with it: for each kernel
    ``2 / (m (m - 1)) * sum_{i<j} max(0, 1 - ||p_i - p_j||)``.

    Args:
        positions: ``(d, *batch, m)`` in pixels, with ``m`` of at least 2.

    Returns:
        A scalar between 0 (all elements at least a pixel apart) and 1 (all in one
        place), in float32, or float64 if ``positions`` is.

    Raises:
        ArgumentError: If a kernel has a single element.

    Example:
        >>> positions = torch.tensor([0.0, 0.0, 9.0]).expand(2, 1, 1, 3)
        >>> repulsion(positions)  # One pair of three overlaps, entirely.
        tensor(0.3333)
    """
    count = positions.shape[-1]
    if count < 2:
        raise ArgumentError(
            f'The repulsive loss needs a kernel_count of at least 2, not {count}.'
        )
    dtype = torch.promote_types(positions.dtype, torch.float32)
    points = positions.flatten(1, -2).permute(1, 2, 0).to(dtype)
    # Without matrix products, coincident elements are at distance 0, with gradient 0.
    distance = torch.cdist(points, points, compute_mode='donot_use_mm_for_euclid_dist')
    # Each pair is there twice, and each element is at distance 0 from itself.
    overlap = (1 - distance).relu().sum((1, 2)) - count
    return overlap.mean() / (count * (count - 1))


def repulsive_loss(model: nn.Module) -> Tensor:
    """Average the squared repulsion over the model's position tensors.

    A tensor that several layers share counts once.

    Args:
        model: A model that has at least one DCLS layer.

    Returns:
        A scalar.

    Raises:
        ArgumentError: If the model has no DCLS layer or one of a single element.

    Example:
        >>> from mmdcls.layers import DCLSConv2d
        >>> repulsive_loss(DCLSConv2d(4, 4, 3, 5, groups=4)).shape
        torch.Size([])
    """
    tensors = {
        id(layer.positions): layer.positions for layer in iter_dcls_layers(model)
    }
    if not tensors:
        raise ArgumentError(
            f'The repulsive loss needs DCLS layers; {type(model).__name__} has none.'
        )
    return combine([repulsion(p) for p in tensors.values()])


def combine(repulsions: Sequence[Tensor]) -> Tensor:
    """Make one loss of the scalars that :func:`repulsion` gives for each tensor."""
    return torch.stack([*repulsions]).mean().square()
