"""Depthwise convolution with large kernels: one function, several backends."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmdcls.compat import autocast_dtype, without_autocast
from mmdcls.errors import ArgumentError, ArgumentTypeError

from .backends import BACKENDS
from .backends.selection import choose_backend

__all__ = ['DepthwiseConv2dFunction', 'depthwise_conv2d']


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    padding: int | tuple[int, int],
    backend: str = 'auto',
) -> Tensor:
    """Convolve depthwise in 2D, with stride 1 and zero padding.

    Equal to ``F.conv2d(x, weight, bias, padding=padding, groups=C)``, its result under
    autocast included, but faster for large kernels. On a CPU the result and the
    gradient of ``x`` are in channels_last memory whatever the format of ``x``: an NCHW
    input is converted once and the layers behind stay in channels_last. Elsewhere the
    format of ``x`` is kept. Can be differentiated once.

    Args:
        x: Input, (N, C, H, W).
        weight: Kernel, (C, 1, h, w), of the dtype and on the device of ``x``.
        bias: Added to each channel, (C,).
        padding: Zeros on either side, one number or (rows, columns).
        backend: ``'auto'`` takes the fastest backend of each operation, see
            ``backends/selection.py``; a name from ``backends.BACKENDS`` runs all
            operations there or raises.

    Returns:
        The output, (N, C, H + 2 * padding - h + 1, W + 2 * padding - w + 1).

    Raises:
        ArgumentTypeError: If a dtype is not a floating one or differs from that of
            ``x``.
        ArgumentError: If a shape, device, padding or backend name is not as above, or
            the named backend cannot run; the message says why.
        MissingPackageError: If the named backend needs a package that is not installed.

    Example:
        >>> import torch
        >>> images, weight = torch.ones(1, 2, 5, 5), torch.ones(2, 1, 3, 3)
        >>> output = depthwise_conv2d(images, weight, padding=1)
        >>> output.shape, output[0, 0, 2, 2].item()
        (torch.Size([1, 2, 5, 5]), 9.0)
    """
    x, weight, bias = _autocast(x, weight, bias)
    paddings = _pair(padding)
    _check(x, weight, bias, paddings, backend)
    # Taps beyond the map touch padding only: they are cut here, and get gradient 0.
    crop = tuple(
        max(0, k - p - size)
        for k, p, size in zip(weight.shape[2:], paddings, x.shape[2:], strict=True)
    )
    return DepthwiseConv2dFunction.apply(x, weight, bias, paddings, crop, backend)


class DepthwiseConv2dFunction(torch.autograd.Function):
    """The depthwise convolution, each of its operations on the backend chosen for it.

    FLOP counters that go by names see this class's.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, padding, crop, backend):
        """Convolve; arguments as checked by ``depthwise_conv2d``.

        ``crop`` is the number of taps (rows, columns) to cut on either side.
        """
        padding = tuple(p - c for p, c in zip(padding, crop, strict=True))
        full_size = weight.shape[2:]
        weight = weight[
            ..., crop[0] : full_size[0] - crop[0], crop[1] : full_size[1] - crop[1]
        ]
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.crop, ctx.backend = padding, crop, backend
        run = choose_backend('forward', x, weight.shape[2:], padding, backend)
        with without_autocast(x.device.type):
            return run.forward(x, weight, bias, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        """Compute the gradients of ``x``, ``weight`` and ``bias`` that are needed."""
        x, weight = ctx.saved_tensors
        kernel_size, padding = weight.shape[2:], ctx.padding
        grad_x = grad_kernel = grad_bias = None
        with without_autocast(x.device.type):
            if ctx.needs_input_grad[0]:
                run = choose_backend(
                    'grad_input', grad_output, kernel_size, padding, ctx.backend
                )
                grad_x = run.grad_input(grad_output, weight, x.shape[2:], padding)
            if ctx.needs_input_grad[1]:
                run = choose_backend(
                    'grad_weight', x, kernel_size, padding, ctx.backend
                )
                grad_kernel = run.grad_weight(x, grad_output, kernel_size, padding)
                rows, columns = ctx.crop
                if rows or columns:
                    # Not F.pad, which PyTorch 2.6 cannot compile in a backward pass.
                    margins = columns, columns, rows, rows
                    grad_kernel = torch.constant_pad_nd(grad_kernel, margins)
            if ctx.needs_input_grad[2]:
                grad_bias = grad_output.permute(0, 2, 3, 1).flatten(0, 2).sum(0)
        return grad_x, grad_kernel, grad_bias, None, None, None


def _autocast(*tensors):
    """Cast as autocast does for ``F.conv2d``."""
    dtype = autocast_dtype(tensors[0].device.type)
    if dtype is None:
        return tensors
    return tuple(
        tensor.to(dtype)
        if tensor is not None
        and tensor.is_floating_point()
        and tensor.dtype != torch.float64
        else tensor
        for tensor in tensors
    )


def _pair(padding):
    pair = padding if isinstance(padding, (tuple, list)) else (padding, padding)
    if len(pair) != 2 or not all(
        isinstance(p, (int, torch.SymInt)) and p >= 0 for p in pair
    ):
        raise ArgumentError(
            f'padding must be a non-negative int or a pair of them, got {padding!r}.'
        )
    return tuple(pair)


def _check(x, weight, bias, padding, backend):
    if backend != 'auto' and backend not in BACKENDS:
        accepted = ', '.join(repr(name) for name in ('auto', *BACKENDS))
        raise ArgumentError(f'backend must be one of {accepted}, got {backend!r}.')
    if x.dim() != 4:
        raise ArgumentError(f'x must be (N, C, H, W), got shape {tuple(x.shape)}.')
    channels = x.shape[1]
    if weight.dim() != 4 or tuple(weight.shape[:2]) != (channels, 1):
        raise ArgumentError(
            f'weight must be ({channels}, 1, h, w) for an x of {channels} channels, '
            f'got shape {tuple(weight.shape)}.'
        )
    if bias is not None and tuple(bias.shape) != (channels,):
        raise ArgumentError(
            f'bias must be ({channels},) for an x of {channels} channels, got shape '
            f'{tuple(bias.shape)}.'
        )
    for axis, k, p, size in zip(
        ('rows', 'columns'), weight.shape[2:], padding, x.shape[2:], strict=True
    ):
        if k < 1 or size < 1 or size + 2 * p < k:
            raise ArgumentError(
                f'weight must have between 1 and {size + 2 * p} {axis} for an x of '
                f'{size} {axis} with padding {p}, got {k}.'
            )
    if not x.is_floating_point():
        raise ArgumentTypeError(f'x must have a floating dtype, got {x.dtype}.')
    for name, tensor in (('weight', weight), ('bias', bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise ArgumentTypeError(
                f'{name} must have the dtype of x, {x.dtype}, got {tensor.dtype}.'
            )
        if tensor is not None and tensor.device != x.device:
            raise ArgumentError(
                f'{name} must be on the device of x, {x.device}, got {tensor.device}.'
            )
