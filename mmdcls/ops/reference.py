"""The kernel construction as the paper writes it: slow and obvious, for tests.

Loops in float64 over every kernel, element and grid point. Never optimised. PyTorch
differentiates it, with the floor of a position as a constant, as the paper does.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmdcls.errors import ArgumentError


def construct_kernel(
    weight: Tensor,
    positions: Tensor,
    kernel_size: Sequence[int],
    *,
    interpolation: str = 'bilinear',
    sigma: Tensor | None = None,
) -> Tensor:
    """Compute :func:`mmdcls.ops.construct_kernel`, always in float64, unchecked."""
    weight, positions = weight.double(), positions.double()
    batch = weight.shape[:-1]
    kernels = []
    for index in itertools.product(*map(range, batch)):
        kernel = torch.zeros(kernel_size, dtype=torch.float64)
        for element in range(weight.shape[-1]):
            one = (*index, element)
            where: Any = (slice(None), *one)
            position = [
                p + size // 2
                for p, size in zip(positions[where], kernel_size, strict=True)
            ]
            if interpolation == 'bilinear':
                spread = _bilinear(position, kernel_size)
            elif sigma is None:
                raise ArgumentError(f'interpolation={interpolation!r} needs sigma')
            elif interpolation == 'triangle':
                width = 1.0 + sigma[where].double().abs()
                spread = _triangle(position, width, kernel_size)
            else:
                width = 0.27 + sigma[where].double().abs()
                spread = _gaussian(position, width, kernel_size)
            kernel = kernel + weight[one] * spread  # eq. 14
        kernels.append(kernel)
    return torch.stack(kernels).reshape(*batch, *kernel_size)


def _bilinear(position, kernel_size):
    """Compute Eq. 3, 49 and 54 for a weight of 1; an axis has points i and i + 1."""
    kernel = torch.zeros(kernel_size, dtype=torch.float64)
    floor = [math.floor(p.detach()) for p in position]
    r = [p - i for p, i in zip(position, floor, strict=True)]
    for steps in itertools.product((0, 1), repeat=len(kernel_size)):
        point = tuple(i + step for i, step in zip(floor, steps, strict=True))
        share = math.prod(
            r[axis] if step else 1 - r[axis] for axis, step in enumerate(steps)
        )
        inside = all(0 <= i < size for i, size in zip(point, kernel_size, strict=True))
        if inside:
            one = torch.zeros(kernel_size, dtype=torch.float64)
            one[point] = 1
            kernel = kernel + one * share
    return kernel


def _triangle(position, width, kernel_size):
    """Compute the released package's version ``max`` for a weight of 1."""
    return _normalized(
        kernel_size,
        lambda axis, i: (width[axis] - (i - position[axis]).abs()).relu(),
    )


def _gaussian(position, width, kernel_size):
    """Compute the released package's version ``gauss`` for a weight of 1."""
    return _normalized(
        kernel_size,
        lambda axis, i: (-0.5 * ((i - position[axis]) / width[axis]) ** 2).exp(),
    )


def _normalized(kernel_size, factor):
    values = [
        math.prod(factor(axis, i) for axis, i in enumerate(point))
        for point in itertools.product(*map(range, kernel_size))
    ]
    kernel = torch.stack(values).reshape(kernel_size)
    return kernel / (kernel.sum() + 1e-7)
