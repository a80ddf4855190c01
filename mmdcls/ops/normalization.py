"""The numbers that say how a triangle or a Gaussian spreads its weight."""

import torch

# What is added to |sigma| to make the width of an element, so that every element
# reaches a grid point (the released package's versions ``max`` and ``gauss``).
SMALLEST_WIDTH = {'triangle': 1.0, 'gaussian': 0.27}

NORMALIZATION_EPS = 1e-7


def smallest_factor(dtype: torch.dtype) -> float:
    """Return the factor up to which what a Gaussian gives to a point is 0.

    Products of what is smaller are no normal numbers: far below rounding, and a
    processor takes many times as long for each, and for the exponential itself.
    """
    return torch.finfo(dtype).tiny ** 0.4
