"""What stands beside a depthwise convolution on NCHW maps, and lays them out anew.

The tensor-core kernels of the backend ``toeplitz`` work on NCHW maps, the pointwise
layers of a block on (N, H, W, C). Here the normalisation between them reads the one and
writes the other, and so does the scaled residual at the end of a block, in one pass
each way. A conversion of its own would be one more pass over all values.
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mmdcls.compat import autocast_dtype, custom_op

from .backends import toeplitz, tuning
from .depthwise import depthwise_conv2d
from .pointwise import scaled_residual

_LAYOUTS = {'nchw': torch.contiguous_format, 'channels_last': torch.channels_last}


def norm_to_channels_last(
    x: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """Add a number to each channel, normalise the channels of each pixel, and scale.

    Equal to ``F.layer_norm((x + shift).permute(0, 2, 3, 1), (C,), weight, bias, eps)``
    but for the data type, which stays that of ``x``; sums are in float32. ``shift`` is
    the bias of the convolution before: its gradient comes with those of weight and
    bias, without a pass of its own. Can be differentiated once.

    Args:
        x: Maps, dense ``(N, C, H, W)``.
        shift: ``(C,)``, or None.
        weight: ``(C,)``.
        bias: ``(C,)``.
        eps: Added to the variance.

    Returns:
        ``(N, H, W, C)``.
    """
    return _Norm.apply(x.contiguous(), shift, weight, bias, eps)


def residual_to_nchw(x: Tensor, residual: Tensor, scale: Tensor) -> Tensor:
    """Add ``residual * scale`` to ``x``, a factor for each image and channel.

    Equal to ``scaled_residual(x, residual.permute(0, 3, 1, 2), scale)``, in NCHW. Can
    be differentiated once.

    Args:
        x: Dense ``(N, C, H, W)``.
        residual: Dense ``(N, H, W, C)``.
        scale: ``(N, C, 1, 1)``.
    """
    return _Residual.apply(x.contiguous(), residual.contiguous(), scale)


class _Norm(Function):
    @staticmethod
    def forward(ctx, x, shift, weight, bias, eps):
        out, means, factors = norm(x, shift, weight, bias, eps)
        ctx.save_for_backward(x, shift, weight, means, factors)
        ctx.bias_dtype = bias.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        x, shift, weight, means, factors = ctx.saved_tensors
        grad_x, sums = norm_backward(
            grad_output.contiguous(), x, shift, weight, means, factors
        )
        grad_weight, grad_bias, grad_shift = sums.unbind(0)
        return (
            grad_x,
            None if shift is None else grad_shift.to(shift.dtype),
            grad_weight.to(weight.dtype),
            grad_bias.to(ctx.bias_dtype),
            None,
        )


class _Residual(Function):
    @staticmethod
    def forward(ctx, x, residual, scale):
        ctx.save_for_backward(residual, scale)
        ctx.dtype = x.dtype
        return add_residual(x, residual, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        residual, scale = ctx.saved_tensors
        # At the end of a stage it is in channels_last, and is to be so nowhere else.
        grad_output = grad_output.contiguous()
        grad_residual, grad_scale = add_residual_backward(grad_output, residual, scale)
        return grad_output.to(ctx.dtype), grad_residual, grad_scale


@custom_op(
    'mmdcls::norm_nchw',
    '(Tensor x, Tensor? shift, Tensor weight, Tensor bias, float eps) -> '
    '(Tensor, Tensor, Tensor)',
)
def norm(
    x: Tensor, shift: Tensor | None, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute :func:`norm_to_channels_last`, and each pixel's mean and factor."""
    from .nchw_block_kernels import launch_norm

    out, means, factors = _empty_norm(x, shift, weight, bias, eps)
    if x.numel():
        launch_norm(x, shift, weight, bias, out, means, factors, eps)
    return out, means, factors


@norm.register_fake
def _empty_norm(x, shift, weight, bias, eps):
    images, channels, height, width = x.shape
    return (
        x.new_empty((images, height, width, channels)),
        x.new_empty((images, height, width), dtype=torch.float32),
        x.new_empty((images, height, width), dtype=torch.float32),
    )


@custom_op(
    'mmdcls::norm_nchw_backward',
    '(Tensor grad, Tensor x, Tensor? shift, Tensor weight, Tensor means, '
    'Tensor factors) -> (Tensor, Tensor)',
)
def norm_backward(
    grad: Tensor,
    x: Tensor,
    shift: Tensor | None,
    weight: Tensor,
    means: Tensor,
    factors: Tensor,
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of ``x``, and of weight, bias and shift as ``(3, C)``."""
    from .nchw_block_kernels import launch_norm_backward

    grad_x, sums = _empty_norm_backward(grad, x, shift, weight, means, factors)
    if x.numel():
        sums = launch_norm_backward(grad, x, shift, weight, means, factors, grad_x)
    else:
        sums.zero_()
    return grad_x, sums


@norm_backward.register_fake
def _empty_norm_backward(grad, x, shift, weight, means, factors):
    sums = x.new_empty((3, x.shape[1]), dtype=torch.float32)
    return x.new_empty(x.shape), sums


@custom_op(
    'mmdcls::residual_nchw', '(Tensor x, Tensor residual, Tensor scale) -> Tensor'
)
def add_residual(x: Tensor, residual: Tensor, scale: Tensor) -> Tensor:
    """Compute :func:`residual_to_nchw`."""
    from .nchw_block_kernels import launch_residual

    out = _empty_sum(x, residual, scale)
    if x.numel():
        launch_residual(x, residual, scale.contiguous(), out)
    return out


@add_residual.register_fake
def _empty_sum(x, residual, scale):
    dtype = torch.promote_types(x.dtype, residual.dtype)
    return x.new_empty(x.shape, dtype=torch.promote_types(dtype, scale.dtype))


@custom_op(
    'mmdcls::residual_nchw_backward',
    '(Tensor grad, Tensor residual, Tensor scale) -> (Tensor, Tensor)',
)
def add_residual_backward(
    grad: Tensor, residual: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of residual and scale."""
    from .nchw_block_kernels import launch_residual_backward

    grad_residual, grad_scale = _empty_sum_backward(grad, residual, scale)
    if grad.numel():
        sums = launch_residual_backward(
            grad, residual, scale.contiguous(), grad_residual
        )
        grad_scale = sums.view(scale.shape).to(scale.dtype)
    else:
        grad_scale.zero_()
    return grad_residual, grad_scale


@add_residual_backward.register_fake
def _empty_sum_backward(grad, residual, scale):
    return residual.new_empty(residual.shape), scale.new_empty(scale.shape)


# --- Which format the maps of a block take ------------------------------------------


def choose_format(x: Tensor, kernel_size: tuple[int, int], training: bool) -> str:
    """Return ``'nchw'`` or ``'channels_last'``, what a block's maps are faster in.

    What is timed is a block without its pointwise layers: convolution, normalisation
    and residual, and in training the gradients of all. ``'channels_last'`` stays unless
    the other is clearly faster, and wherever nothing may be measured.

    Args:
        x: Maps, ``(N, C, H, W)``, under the autocast that the block runs in.
        kernel_size: Rows and columns of the kernel, both odd.
        training: Whether there will be gradients.
    """
    usual = tuning.FORMATS[0]
    if not tuning.may_measure(x):
        return usual
    dtype = autocast_dtype(x.device.type) or x.dtype
    padding = kernel_size[0] // 2, kernel_size[1] // 2
    like = x.new_empty(0, dtype=dtype)
    if not toeplitz.can_run('forward', like, kernel_size, padding):
        return usual
    mode = 'training' if training else 'inference'
    key = f'{tuning.bucket(f"block {mode}", x, kernel_size)} in {dtype}'
    timed = functools.partial(measure_formats, x, kernel_size, training)
    return tuning.look_up(key, x, timed, usual) or usual


def measure_formats(
    x: Tensor,
    kernel_size: tuple[int, int],
    training: bool,
    timer: Callable[[Callable[[], object]], float] = tuning.time_on_gpu,
) -> dict[str, float]:
    """Measure milliseconds by format; arguments as in :func:`choose_format`."""
    maps, parameters = random_block(x, kernel_size, training)
    steps = {}
    for name in tuning.FORMATS:
        # Converted once, as at the start of a stage.
        converted = maps.detach().contiguous(memory_format=_LAYOUTS[name])
        steps[name] = functools.partial(run_step, name, converted, parameters, training)
    return tuning.time_steps(steps, 'a block', timer)


def random_block(
    x: Tensor, kernel_size: tuple[int, int], training: bool
) -> tuple[Tensor, list[Tensor]]:
    """Make random maps shaped as ``x``, and the parameters of a block on them.

    Returns:
        The maps, and kernel, bias, the normalisation's weight and bias, and the factor
        of the residual, which are of float32 under autocast.
    """
    # A generator of its own: the numbers of a training stay what they are.
    generator = torch.Generator(x.device).manual_seed(0)

    dtype = x.dtype if autocast_dtype(x.device.type) is None else torch.float32
    channels = x.shape[1]
    shapes = [
        x.shape,
        (channels, 1, *kernel_size),
        *[(channels,)] * 3,
        (x.shape[0], channels, 1, 1),
    ]
    maps, *parameters = (
        torch.empty(shape, device=x.device)
        .normal_(generator=generator)
        .to(x.dtype if shape is x.shape else dtype)
        .requires_grad_(training)
        for shape in shapes
    )
    return maps, parameters


def run_step(
    memory_format: str, x: Tensor, parameters: list[Tensor], training: bool
) -> list[Tensor]:
    """Run a block without its pointwise layers.

    Args:
        memory_format: One of ``tuning.FORMATS``.
        x: Maps, which are converted to it.
        parameters: As :func:`random_block` makes them.
        training: Whether to compute gradients.

    Returns:
        The output, and in training the gradients of ``x`` and of the parameters.
    """
    kernel, shift, weight, bias, scale = parameters
    x = x.detach().contiguous(memory_format=_LAYOUTS[memory_format])
    x.requires_grad_(training)
    padding = kernel.shape[2] // 2, kernel.shape[3] // 2
    with torch.set_grad_enabled(training):
        if memory_format == 'nchw':
            y = depthwise_conv2d(x, kernel, None, padding=padding, backend='toeplitz')
            y = norm_to_channels_last(y, shift, weight, bias, 1e-6)
            out = residual_to_nchw(x, y, scale)
        else:
            y = depthwise_conv2d(x, kernel, shift, padding=padding)
            z = F.layer_norm(y.permute(0, 2, 3, 1), weight.shape, weight, bias, 1e-6)
            # The pointwise layers cast, too.
            out = scaled_residual(x, z.to(y.dtype).permute(0, 3, 1, 2), scale)
    if not training:
        return [out]
    return [out, *torch.autograd.grad(out, [x, *parameters], torch.ones_like(out))]
