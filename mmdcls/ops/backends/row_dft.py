"""Depthwise convolution by a DFT along the rows and a direct one down the columns.

The DFT is a product with a small matrix, which costs a CPU less than an FFT of these
sizes because it works on channels_last memory as it lies. What remains per frequency
is a one-dimensional depthwise convolution, so that the cost grows with the kernel's
height instead of its area.

With ``B x`` the transformed rows of the input and ``G w`` those of the kernel, the
output rows are ``A ((B x) * (G w))``. All three operations read off this product:
exchange the factors for the gradients.

The transformed rows take about twice the memory of the maps; the images go through in
groups whose transform stays in the caches, which halves the time of a large batch.
"""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from . import aten, fft

# How many transformed values are worked on at once: those of a few MB of cache.
GROUP_VALUES = 1_500_000

# The same conditions as for the FFT, as the DFT's period is chosen in the same way.
can_run = functools.partial(fft.can_run, name='row_dft')


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """Convolve depthwise; the result is in channels_last memory."""
    to_output, from_input, from_kernel = _transforms(
        x, x.shape[3], weight.shape[3], padding[1]
    )
    kernel = _transform_kernel(weight, from_kernel)
    output = _join(
        [
            _restore_rows(
                aten.forward(
                    _transform_rows(images, from_input), kernel, None, (0, padding[0])
                ),
                to_output,
            )
            for images in x.split(_group_size(x, from_input))
        ]
    )
    if bias is not None:
        output += bias[:, None, None]
    return output.to(x.dtype)


def grad_input(
    grad_output: Tensor,
    weight: Tensor,
    input_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Compute the gradient of the input, in channels_last memory."""
    to_output, from_input, from_kernel = _transforms(
        grad_output, input_size[1], weight.shape[3], padding[1]
    )
    kernel = _transform_kernel(weight, from_kernel)
    gradient = _join(
        [
            _restore_rows(
                aten.grad_input(
                    _transform_rows(gradients, to_output.t()),
                    kernel,
                    (1, input_size[0]),
                    (0, padding[0]),
                ),
                from_input.t(),
            )
            for gradients in grad_output.split(_group_size(grad_output, from_kernel))
        ]
    )
    return gradient.to(grad_output.dtype)


def grad_weight(
    x: Tensor,
    grad_output: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Compute the gradient of the weight."""
    to_output, from_input, from_kernel = _transforms(
        x, x.shape[3], kernel_size[1], padding[1]
    )
    channels = x.shape[1]
    columns: Any = 0
    size = _group_size(x, from_input)
    for images, gradients in zip(x.split(size), grad_output.split(size), strict=True):
        columns += aten.grad_weight(
            _transform_rows(images, from_input),
            _transform_images(gradients, to_output.t()),
            (1, kernel_size[0]),
            (0, padding[0]),
        )
    rows = from_kernel.t() @ columns.reshape(-1, channels * kernel_size[0])
    rows = rows.view(kernel_size[1], channels, 1, kernel_size[0])
    return rows.permute(1, 2, 3, 0).to(x.dtype)


def _transforms(like, width, kernel_width, padding):
    """Return the matrices (A, B, G) for one row: ``y = A ((B x) * (G w))``.

    A complex product is three real ones, (a + ib)(c + id) = p - q + i(r - p - q) with
    p = ac, q = bd, r = (a + b)(c + d); the frequencies 0 and ``period / 2`` are real.
    """
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    # The shortest even period at which no wanted output is aliased.
    period = width + padding
    period += period % 2
    steps = torch.arange(period, device=like.device)
    angles = steps.to(torch.float64) * (2 * math.pi / period)
    cos_table, sin_table = angles.cos().to(dtype), angles.sin().to(dtype)
    frequency = steps[: period // 2 + 1, None]
    inner = slice(1, period // 2)

    def cos_sin(positions):
        turns = (frequency * positions) % period
        return cos_table[turns], sin_table[turns]

    cos, sin = cos_sin(torch.arange(width, device=like.device))
    from_input = torch.cat([cos, -sin[inner], (cos - sin)[inner]])
    cos, sin = cos_sin(torch.arange(kernel_width, device=like.device))
    from_kernel = torch.cat([cos, sin[inner], (cos + sin)[inner]])
    output_width = width + 2 * padding - kernel_width + 1
    cos, sin = cos_sin(torch.arange(output_width, device=like.device) - padding)
    multiplicity = torch.full_like(cos, 2 / period)
    multiplicity[0] = multiplicity[-1] = 1 / period
    cos, sin = cos * multiplicity, sin * multiplicity
    to_output = torch.cat([cos + sin, (sin - cos)[inner], -sin[inner]]).t()
    return to_output, from_input, from_kernel


def _group_size(x, matrix):
    """Return the number of images to work on at once."""
    _, channels, height, _ = x.shape
    return max(1, GROUP_VALUES // (channels * height * matrix.shape[0]))


def _join(groups):
    return groups[0] if len(groups) == 1 else torch.cat(groups)


def _transform_rows(x, matrix):
    """Transform (N, C, H, W) to (N, R * C, 1, H) in channels_last memory."""
    rows = x.permute(0, 2, 3, 1).to(matrix.dtype).contiguous()
    rows = torch.matmul(matrix, rows)
    return rows.flatten(2).unsqueeze(1).permute(0, 3, 1, 2)


def _transform_images(x, matrix):
    """Transform (N, C, H, W) to (N, R * C, 1, H) in NCHW memory."""
    batch, _, height, width = x.shape
    rows = x.permute(0, 3, 1, 2).to(matrix.dtype).reshape(batch, width, -1)
    return torch.matmul(matrix, rows).view(batch, -1, 1, height)


def _transform_kernel(weight, matrix):
    """Transform (C, 1, h, w) to (R * C, 1, 1, h)."""
    rows = weight[:, 0].permute(2, 0, 1).to(matrix.dtype).flatten(1)
    return torch.matmul(matrix, rows).view(-1, 1, 1, weight.shape[2])


def _restore_rows(columns, matrix):
    """Transform (N, R * C, 1, H) to (N, C, H, W) in channels_last memory."""
    batch, _, _, height = columns.shape
    rows = columns.permute(0, 2, 3, 1).reshape(batch, height, matrix.shape[1], -1)
    return torch.matmul(matrix, rows).permute(0, 3, 1, 2)
