"""The Triton kernels behind ``fused_construction.py``; importing this needs Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .normalization import NORMALIZATION_EPS, SMALLEST_WIDTH, smallest_factor


@triton.jit
def _factor(
    position, width, SIZE: tl.constexpr, POINTS: tl.constexpr,
    INTERPOLATION: tl.constexpr, SMALLEST: tl.constexpr,
):  # fmt: skip
    """Compute what each point of one axis gets of each element, (POINTS, m).

    Also its derivatives by the element's position and by its width.
    """
    point = tl.arange(0, POINTS)[:, None]
    distance = point.to(tl.float32) - (position + SIZE // 2)[None, :]
    if INTERPOLATION == 'bilinear':
        # As ``floor`` has it, a point that an element lies on is the lower one.
        lower = (distance > -1) & (distance <= 0)
        upper = (distance > 0) & (distance <= 1)
        value = tl.where(lower | upper, 1 - tl.abs(distance), 0.0)
        by_position = tl.where(upper, 1.0, 0.0) - tl.where(lower, 1.0, 0.0)
        by_width = tl.zeros_like(value)
    elif INTERPOLATION == 'triangle':
        value = width[None, :] - tl.abs(distance)
        reached = value > 0
        value = tl.where(reached, value, 0.0)
        sign = tl.where(distance > 0, 1.0, 0.0) - tl.where(distance < 0, 1.0, 0.0)
        by_position = tl.where(reached, sign, 0.0)
        by_width = tl.where(reached, 1.0, 0.0)
    else:
        ratio = distance / width[None, :]
        value = tl.exp(-0.5 * ratio * ratio)
        value = tl.where(value > SMALLEST, value, 0.0)
        by_position = value * ratio / width[None, :]
        by_width = by_position * ratio
    inside = point < SIZE
    # NaN shows in the kernel, wherever its comparisons led.
    value = tl.where((position != position)[None, :], position[None, :], value)
    value = tl.where(inside, value, 0.0)
    return value, tl.where(inside, by_position, 0.0), tl.where(inside, by_width, 0.0)


@triton.jit
def _width(sigma, offset, inside, INTERPOLATION: tl.constexpr, SMALLEST: tl.constexpr):
    """Return the width of each element along one axis, and its sigma's sign."""
    if INTERPOLATION == 'bilinear':
        width = tl.where(inside, 1.0, 1.0)
        sign = width
    else:
        value = tl.load(sigma + offset, mask=inside, other=0.0)
        width = tl.abs(value) + SMALLEST
        sign = tl.where(value > 0, 1.0, 0.0) - tl.where(value < 0, 1.0, 0.0)
    return width, sign


@triton.jit
def construct_kernel(
    weight, positions, sigma, out, layers, rows, count,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, COUNT: tl.constexpr, INTERPOLATION: tl.constexpr,
    SMALLEST_WIDTH: tl.constexpr, SMALLEST: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Build the kernels of all layers for one row of the positions."""
    row = tl.program_id(0).to(tl.int64)
    m = tl.arange(0, COUNT)
    inside = m < count
    # Where there is no element one lies beyond the kernel.
    y = tl.load(positions + row * count + m, mask=inside, other=-1e4)
    x = tl.load(positions + (rows + row) * count + m, mask=inside, other=-1e4)
    r, c = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    for layer in range(layers):
        kernel_index = layer * rows + row
        element = kernel_index * count + m
        axis = layers * rows * count
        y_width, _ = _width(sigma, element, inside, INTERPOLATION, SMALLEST_WIDTH)
        x_width, _ = _width(
            sigma, axis + element, inside, INTERPOLATION, SMALLEST_WIDTH
        )
        a, _, _ = _factor(y, y_width, HEIGHT, ROWS, INTERPOLATION, SMALLEST)
        b, _, _ = _factor(x, x_width, WIDTH, COLUMNS, INTERPOLATION, SMALLEST)
        scale = tl.load(weight + element, mask=inside, other=0.0)
        if INTERPOLATION != 'bilinear':
            scale = scale / (tl.sum(a, 0) * tl.sum(b, 0) + EPS)
        kernel = tl.dot(a * scale[None, :], tl.trans(b), input_precision='ieee')
        tl.store(
            out + kernel_index * (HEIGHT * WIDTH) + r * WIDTH + c,
            kernel,
            mask=(r < HEIGHT) & (c < WIDTH),
        )


@triton.jit
def construct_backward_kernel(
    grad, weight, positions, sigma, grad_weight, grad_positions, grad_sigma,
    layers, rows, count,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, COUNT: tl.constexpr, INTERPOLATION: tl.constexpr,
    SMALLEST_WIDTH: tl.constexpr, SMALLEST: tl.constexpr, EPS: tl.constexpr,
):  # fmt: skip
    """Compute the gradients of all layers for one row of the positions."""
    row = tl.program_id(0).to(tl.int64)
    m = tl.arange(0, COUNT)
    inside = m < count
    y = tl.load(positions + row * count + m, mask=inside, other=-1e4)
    x = tl.load(positions + (rows + row) * count + m, mask=inside, other=-1e4)
    r, c = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    grad_y = tl.zeros((COUNT,), dtype=tl.float32)
    grad_x = tl.zeros((COUNT,), dtype=tl.float32)
    for layer in range(layers):
        kernel_index = layer * rows + row
        element = kernel_index * count + m
        axis = layers * rows * count
        y_width, y_sign = _width(sigma, element, inside, INTERPOLATION, SMALLEST_WIDTH)
        x_width, x_sign = _width(
            sigma, axis + element, inside, INTERPOLATION, SMALLEST_WIDTH
        )
        a, a_by_y, a_by_width = _factor(
            y, y_width, HEIGHT, ROWS, INTERPOLATION, SMALLEST
        )
        b, b_by_x, b_by_width = _factor(
            x, x_width, WIDTH, COLUMNS, INTERPOLATION, SMALLEST
        )
        g = tl.load(
            grad + kernel_index * (HEIGHT * WIDTH) + r * WIDTH + c,
            mask=(r < HEIGHT) & (c < WIDTH),
            other=0.0,
        )
        scale = tl.load(weight + element, mask=inside, other=0.0)
        grad_a = tl.dot(g, b, input_precision='ieee')
        grad_b = tl.dot(tl.trans(g), a, input_precision='ieee')
        grad_element = tl.sum(a * grad_a, 0)
        if INTERPOLATION == 'bilinear':
            grad_a *= scale[None, :]
            grad_b *= scale[None, :]
        else:
            # A factor counts in the kernel and, through its total, in the norm.
            a_total, b_total = tl.sum(a, 0), tl.sum(b, 0)
            norm = a_total * b_total + EPS
            scale = scale / norm
            grad_element = grad_element / norm
            grad_norm = -grad_element * scale
            grad_a = grad_a * scale[None, :] + (grad_norm * b_total)[None, :]
            grad_b = grad_b * scale[None, :] + (grad_norm * a_total)[None, :]
            y_part = tl.sum(grad_a * a_by_width, 0) * y_sign
            x_part = tl.sum(grad_b * b_by_width, 0) * x_sign
            tl.store(grad_sigma + element, y_part, mask=inside)
            tl.store(grad_sigma + axis + element, x_part, mask=inside)
        tl.store(grad_weight + element, grad_element, mask=inside)
        grad_y += tl.sum(grad_a * a_by_y, 0)
        grad_x += tl.sum(grad_b * b_by_x, 0)
    tl.store(grad_positions + row * count + m, grad_y, mask=inside)
    tl.store(grad_positions + (rows + row) * count + m, grad_x, mask=inside)


def launch(
    weight: Tensor,
    positions: Tensor,
    sigma: Tensor | None,
    out: Tensor,
    interpolation: str,
) -> None:
    """Fill ``out``, dense ``(layers, rows, height, width)``."""
    layers, rows, count = weight.shape
    with torch.cuda.device_of(weight):
        construct_kernel[(rows,)](
            weight, positions, sigma, out, layers, rows, count,
            **_constants(out.shape[2:], count, interpolation),
        )  # fmt: skip


def launch_backward(
    grad_kernel: Tensor,
    weight: Tensor,
    positions: Tensor,
    sigma: Tensor | None,
    grad_weight: Tensor,
    grad_positions: Tensor,
    grad_sigma: Tensor,
    interpolation: str,
) -> None:
    """Fill the gradients, dense and shaped as what they are the gradients of."""
    layers, rows, count = weight.shape
    with torch.cuda.device_of(weight):
        construct_backward_kernel[(rows,)](
            grad_kernel, weight, positions, sigma,
            grad_weight, grad_positions, grad_sigma, layers, rows, count,
            **_constants(grad_kernel.shape[2:], count, interpolation),
        )  # fmt: skip


def _constants(kernel_size, count, interpolation):
    height, width = kernel_size

    def padded(size):
        return max(16, triton.next_power_of_2(size))

    return dict(
        HEIGHT=height,
        WIDTH=width,
        ROWS=padded(height),
        COLUMNS=padded(width),
        COUNT=padded(count),
        INTERPOLATION=interpolation,
        SMALLEST_WIDTH=SMALLEST_WIDTH.get(interpolation, 0.0),
        SMALLEST=smallest_factor(torch.float32),
        EPS=NORMALIZATION_EPS,
    )
