"""How many channels the images of a model have."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd

from .base import DCLSConvNd


def input_channels(model: nn.Module) -> int:
    """Return the number of channels of the images that a model takes.

    Args:
        model: Any module; of one with a ``backbone`` only that is looked at.

    Returns:
        ``in_channels`` of the first convolution, 3 where there is none.

    Examples:
        >>> input_channels(nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3)))
        4
    """
    for module in getattr(model, 'backbone', model).modules():
        if isinstance(module, (_ConvNd, DCLSConvNd)):
            return module.in_channels
    return 3
