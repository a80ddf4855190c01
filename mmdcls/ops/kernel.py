"""Construct the dense kernel of a convolution with learnable spacings.

A kernel has ``kernel_count`` elements, each with a weight and a position; the numbers
of the dense kernel that it becomes are called taps.

A bilinear element touches the 2 ** d grid points around its position, so it is added
there. A triangle or a Gaussian touches more, but is a product over the axes, so those
kernels are a matrix product over the elements. Neither builds anything of the size of
a kernel per element.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mmdcls.compat import without_autocast
from mmdcls.errors import ArgumentError, ArgumentTypeError

from .fused_construction import FusedKernel, can_fuse
from .normalization import NORMALIZATION_EPS, SMALLEST_WIDTH, smallest_factor

INTERPOLATIONS = ('bilinear', 'triangle', 'gaussian')

# Room for both grid points of an element that lies outside of the kernel.
_MARGIN = 2


def construct_kernel(
    weight: Tensor,
    positions: Tensor,
    kernel_size: Sequence[int],
    *,
    interpolation: str = 'bilinear',
    sigma: Tensor | None = None,
) -> Tensor:
    """Place weighted elements at real-valued positions of a dense kernel.

    Elements that overlap add up (paper eq. 14).

    ``'bilinear'`` is eq. 2-3 (2D), 48-50 (1D) and 53-55 (3D), with the gradients of
    eq. 17-19 and 51-52. Weight that falls outside of the kernel is dropped.

    ``'triangle'`` and ``'gaussian'`` are the versions ``max`` and ``gauss`` of the
    released package: an element has its own width along each axis (half base
    1 + |sigma|, standard deviation 0.27 + |sigma|) and is normalised over the kernel.

    Gradients are closed-form and can be taken once, not twice.

    Args:
        weight: ``(*layers, *batch, m)``; in a layer ``batch`` is
            ``(C_out, C_in/groups, *dense_kernel_size)``, and ``layers`` is empty.
        positions: ``(d, *batch, m)`` in pixels from the index ``size // 2`` of each
            axis; ``positions[0]`` goes with the first axis of the kernel. All
            ``layers`` share them.
        kernel_size: The ``d`` sizes of the kernel, 1 to 3 of them, even or odd.
        interpolation: ``'bilinear'``, ``'triangle'`` or ``'gaussian'``.
        sigma: ``(d, *layers, *batch, m)``; for ``'triangle'`` and ``'gaussian'`` only.

    Returns:
        ``(*layers, *batch, *kernel_size)`` in the dtype of ``weight``. The arithmetic
        is in float32, or float64 if ``weight`` or ``positions`` is, also under
        autocast. A NaN among the positions shows as NaN in the kernel.

    Raises:
        ArgumentTypeError: An argument is not of a floating-point dtype.
        ArgumentError: A shape, size, device or name does not fit.

    Example:
        >>> import torch
        >>> weight = torch.ones(1, 1, 1)  # One element, between two points of the grid.
        >>> positions = torch.tensor([0.25]).view(1, 1, 1, 1)
        >>> construct_kernel(weight, positions, (3,))
        tensor([[[0.0000, 0.7500, 0.2500]]])
    """
    kernel_size = tuple(kernel_size)
    _check_arguments(weight, positions, kernel_size, interpolation, sigma)
    dtype = torch.promote_types(weight.dtype, positions.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    dimensions, count = len(kernel_size), weight.shape[-1]
    layers = math.prod(weight.shape[: weight.ndim + 1 - positions.ndim])
    elements = weight.to(dtype).reshape(layers, -1, count)
    rows = elements.shape[1]
    positions = positions.to(dtype).reshape(dimensions, rows, count)
    if sigma is not None:
        sigma = sigma.to(dtype).reshape(dimensions, layers, rows, count)
    if can_fuse(elements, kernel_size):
        kernel = FusedKernel.apply(
            elements, positions, sigma, kernel_size, interpolation
        )
    elif sigma is None:
        kernel = _BilinearKernel.apply(elements, positions, kernel_size)
    else:
        positions = positions.unsqueeze(1).expand(sigma.shape).flatten(1, 2)
        width = sigma.flatten(1, 2).abs() + SMALLEST_WIDTH[interpolation]
        kernel = _SpreadKernel.apply(
            elements.flatten(0, 1), positions, width, kernel_size, interpolation
        )
    return kernel.reshape(*weight.shape[:-1], *kernel_size).to(weight.dtype)


class _BilinearKernel(Function):
    """Weight ``(layers, rows, m)`` to ``(layers, rows, *kernel_size)``.

    The layers share the positions ``(d, rows, m)``.

    The kernel has a margin here: weight outside is added to it and cut off, and its
    gradient is read from zeros.
    """

    @staticmethod
    def forward(ctx, weight, positions, kernel_size):
        index, fractions = _corners(positions, kernel_size)
        ctx.save_for_backward(weight, index, *fractions)
        shares = [weight]
        for fraction in fractions:
            shares = [
                part * side for part in shares for side in (1 - fraction, fraction)
            ]
        sizes = [size + 2 * _MARGIN for size in kernel_size]
        kernel = weight.new_zeros(*weight.shape[:2], math.prod(sizes))
        for corner, share in zip(index, shares, strict=True):
            kernel.scatter_add_(2, corner.expand_as(share), share)
        return F.pad(kernel.unflatten(2, sizes), (-_MARGIN, -_MARGIN) * len(sizes))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_kernel):
        weight, index, *fractions = ctx.saved_tensors
        dimensions = len(fractions)
        # Not F.pad, which asks for the device: PyTorch 2.6 cannot compile that here.
        grad = torch.constant_pad_nd(grad_kernel, (_MARGIN, _MARGIN) * dimensions)
        grad = grad.flatten(2)
        index = index.unsqueeze(1).expand(-1, *weight.shape)
        corners = grad.expand(len(index), *grad.shape).gather(3, index)
        corners = corners.unflatten(0, (2,) * dimensions)
        grad_positions = []
        for axis in range(dimensions):
            lower, upper = corners.unbind(axis)
            others = fractions[:axis] + fractions[axis + 1 :]
            grad_positions.append(weight * _interpolate(upper - lower, others))
        stacked = torch.stack(grad_positions)
        stacked = stacked.sum(1) if stacked.shape[1] > 1 else stacked[:, 0]
        return _interpolate(corners, fractions), stacked, None


def _corners(positions, kernel_size):
    """Find the grid points around each position.

    Returns:
        Indices ``(2 ** d, rows, m)`` into the flat kernel with its margin, the last
        axis changing fastest, and for each axis the fraction ``(rows, m)`` that goes to
        the upper of the two points.
    """
    index: Any = 0
    offsets: list[int] = [0]
    fractions = []
    for position, size in zip(positions, kernel_size, strict=True):
        position = position + size // 2
        lower = position.floor()
        fractions.append(position - lower)
        # NaN is kept inside of the kernel, where its fraction shows.
        lower = lower.nan_to_num(0.0).clamp(-_MARGIN, size).long()
        stride = size + 2 * _MARGIN
        index = index * stride + lower + _MARGIN
        offsets = [offset * stride + step for offset in offsets for step in (0, 1)]
    return torch.stack([index + offset for offset in offsets]), fractions


def _interpolate(corners, fractions):
    """Reduce the leading axes of size 2, one by one, to the point between the two."""
    for fraction in fractions:
        lower, upper = corners.unbind(0)
        corners = torch.lerp(lower, upper, fraction)
    return corners


class _SpreadKernel(Function):
    """Weight ``(rows, m)`` and the others ``(d, rows, m)`` to ``(rows, *kernel_size)``.

    Elements reach over the whole kernel; what an element gives to each point is a
    product of one factor per axis.
    """

    @staticmethod
    def forward(ctx, weight, positions, width, kernel_size, interpolation):
        factors = [
            _factor(*along, interpolation)
            for along in zip(positions, width, kernel_size, strict=True)
        ]
        totals = [factor.sum(-2) for factor in factors]
        norm = math.prod(totals) + NORMALIZATION_EPS
        ctx.save_for_backward(weight, positions, width, norm, *factors, *totals)
        ctx.interpolation = interpolation
        first = factors[0] * (weight / norm).unsqueeze(-2)
        with without_autocast(weight.device.type):
            kernel = first @ _outer(factors[1:], weight).mT
        return kernel.reshape(len(weight), *kernel_size)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_kernel):
        weight, positions, width, norm, *saved = ctx.saved_tensors
        factors, totals = saved[: len(positions)], saved[len(positions) :]
        scale = weight / norm
        grad_weight, grad_positions, grad_widths = None, [], []
        for axis, factor in enumerate(factors):
            others = _outer(factors[:axis] + factors[axis + 1 :], weight)
            shape = *factor.shape[:2], others.shape[1]
            with without_autocast(weight.device.type):
                grad = grad_kernel.movedim(axis + 1, 1).reshape(shape) @ others
            if grad_weight is None:
                grad_weight = (grad * factor).sum(-2) / norm
                grad_norm = -grad_weight * scale
            # A factor counts in the kernel and, through its total, in the norm.
            grad_total = grad_norm * math.prod(totals[:axis] + totals[axis + 1 :])
            torch.addcmul(grad_total.unsqueeze(-2), grad, scale.unsqueeze(-2), out=grad)
            grad_position, grad_width = _factor_backward(
                grad, factor, positions[axis], width[axis], ctx.interpolation
            )
            grad_positions.append(grad_position)
            grad_widths.append(grad_width)
        stacked = map(torch.stack, (grad_positions, grad_widths))
        return grad_weight, *stacked, None, None


def _factor(position, width, size, interpolation):
    """Compute what each point of one axis gets of each element, ``(rows, size, m)``."""
    distance = _distance(position, size)
    if interpolation == 'triangle':
        torch.sub(width.unsqueeze(-2), distance.abs_(), out=distance)
        return distance.relu_()
    exponent = distance.div_(width.unsqueeze(-2)).square_().mul_(-0.5)
    smallest = smallest_factor(exponent.dtype)
    factor = exponent.clamp_min_(math.log(smallest) - 1).exp_()
    return torch.threshold_(factor, smallest, 0.0)


def _factor_backward(grad, factor, position, width, interpolation):
    """Compute gradients ``(rows, m)`` of position and width; overwrite ``grad``."""
    size = factor.shape[-2]
    if interpolation == 'triangle':
        # Where the ReLU lets pass. A comparison would do, but is slow when compiled.
        grad_width = grad.mul_(factor.sign()).sum(-2)
        return grad.mul_(_distance(position, size).sign_()).sum(-2), grad_width
    distance = _distance(position, size)
    grad_position = grad.mul_(factor).mul_(distance).sum(-2) / width**2
    return grad_position, grad.mul_(distance).sum(-2) / width**3


def _outer(factors, like):
    """Multiply the factors of some axes to ``(rows, product of sizes, m)``."""
    if not factors:
        return like.new_ones(like.shape[0], 1, like.shape[1])
    product, *others = factors
    for factor in others:
        product = (product.unsqueeze(-2) * factor.unsqueeze(-3)).flatten(-3, -2)
    return product


def _distance(position, size):
    """Compute distances of elements to each point of an axis, ``(rows, size, m)``."""
    point = torch.arange(size, dtype=position.dtype, device=position.device)
    return point.unsqueeze(-1) - (position + size // 2).unsqueeze(-2)


def _check_arguments(weight, positions, kernel_size, interpolation, sigma):
    """Raise what ``construct_kernel`` documents."""
    if interpolation not in INTERPOLATIONS:
        raise ArgumentError(
            f'interpolation={interpolation!r} is unknown; accepted are {INTERPOLATIONS}'
        )
    if not 1 <= len(kernel_size) <= 3 or min(kernel_size) < 1:
        raise ArgumentError(
            f'kernel_size={kernel_size} must be 1 to 3 sizes of at least 1'
        )
    if (sigma is None) != (interpolation == 'bilinear'):
        raise ArgumentError(
            f'sigma is {"missing" if sigma is None else "given"} with '
            f"interpolation={interpolation!r}; it belongs to 'triangle' and 'gaussian'"
        )
    if weight.ndim == 0 or weight.shape[-1] == 0:
        raise ArgumentError(
            f'weight is of shape {tuple(weight.shape)}; it must be (*batch, m), m >= 1'
        )
    dimensions = len(kernel_size)
    layers = max(0, weight.ndim + 1 - positions.ndim)
    expected = {
        'positions': (dimensions, *weight.shape[layers:]),
        'sigma': (dimensions, *weight.shape),
    }
    tensors = {'weight': weight, 'positions': positions, 'sigma': sigma}
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if not tensor.is_floating_point():
            raise ArgumentTypeError(
                f'{name} is of dtype {tensor.dtype}; it must be floating'
            )
        if tensor.device != weight.device:
            raise ArgumentError(
                f'{name} is on {tensor.device}; it must be on {weight.device}, '
                'where weight is'
            )
        if name != 'weight' and tensor.shape != expected[name]:
            raise ArgumentError(
                f'{name} is of shape {tuple(tensor.shape)}; it must be '
                f'{expected[name]} for weight {tuple(weight.shape)} and '
                f'kernel_size {kernel_size}'
            )
