"""The kernels of layers that share their positions, built at once."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from .base import DCLSConvNd


def can_build_together(layers: Sequence[DCLSConvNd]) -> bool:
    """Tell whether :func:`construct_kernels` takes these layers as they are now.

    They must share one position tensor and be alike in all that makes a kernel, and
    their parameters must be whole: a sharded one is there only while its own layer
    runs. In inference on a CPU each layer keeps its kernel, which is faster.
    """
    first = layers[0]
    return all(
        isinstance(layer, DCLSConvNd) and not layer.deploy for layer in layers
    ) and all(
        layer.positions is first.positions
        and layer.interpolation == first.interpolation
        and layer.dilated_kernel_size == first.dilated_kernel_size
        and layer.positions.shape == (layer.learned_dimensions, *layer.weight.shape)
        and type(layer.weight) is type(layer.positions) is Parameter
        and not layer._keeps_kernel(layer.weight)
        for layer in layers
    )


def construct_kernels(layers: Sequence[DCLSConvNd]) -> list[Tensor]:
    """Build one dense kernel a layer, as each layer's ``construct_kernel`` does."""
    first = layers[0]
    sigma = None
    widths: list[Tensor] = [layer.sigma for layer in layers if layer.sigma is not None]
    if widths:
        sigma = torch.stack(widths, dim=1)
    weight = torch.stack([layer.weight for layer in layers])
    return list(first._construct(weight, first.positions, sigma).unbind())
