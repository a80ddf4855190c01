"""What a ConvNeXt block does besides convolving: pointwise layers and the residual."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mmdcls.compat import autocast_dtype, custom_op, is_compiling, may_be_exporting


def linear_gelu_linear(
    x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor
) -> Tensor:
    """Expand, apply a GELU, and project back.

    Equal to ``F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)``, and that
    is what runs where nothing faster is known: off the CPU, under autocast, in a model
    that is compiled with gradients, and while one is exported or traced. On a CPU the
    values between the layers, four times as many as ``x`` has, go through memory less
    often: without gradients oneDNN adds the bias and applies the GELU as it multiplies,
    and with gradients only the values before the GELU are kept, which frees half of the
    memory. Can then be differentiated once.

    Args:
        x: ``(*, C)``.
        weight1: ``(hidden, C)``.
        bias1: ``(hidden,)``.
        weight2: ``(C_out, hidden)``.
        bias2: ``(C_out,)``.

    Returns:
        ``(*, C_out)``.

    Example:
        >>> import torch
        >>> x, ones = torch.ones(2, 3), torch.ones
        >>> linear_gelu_linear(x, ones(4, 3), ones(4), ones(5, 4), ones(5)).shape
        torch.Size([2, 5])
    """
    tensors = x, weight1, bias1, weight2, bias2
    differentiable = _is_differentiable(*tensors)
    if not _is_on_cpu(x) or (is_compiling() and (differentiable or may_be_exporting())):
        return F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)
    if differentiable:
        return _LinearGELULinear.apply(*tensors)
    run = _compiled_without_gradients if is_compiling() else _without_gradients
    return run(*tensors)


def _without_gradients(x, weight1, bias1, weight2, bias2):
    if _has_onednn_linear(x):
        linear = torch.ops.mkldnn._linear_pointwise
        hidden = linear(x, weight1, bias1, 'gelu', [], 'none')
    else:
        hidden = torch.ops.aten.gelu_(F.linear(x, weight1, bias1))
    return _linear(hidden, weight2, bias2)


# An operator, as PyTorch's compiler applies the GELU in a pass of its own.
_compiled_without_gradients = custom_op(
    'mmdcls::linear_gelu_linear',
    '(Tensor x, Tensor weight1, Tensor bias1, Tensor weight2, Tensor bias2) -> Tensor',
)(_without_gradients)


@_compiled_without_gradients.register_fake
def _(x, weight1, bias1, weight2, bias2):
    return x.new_empty((*x.shape[:-1], weight2.shape[0]))


class _LinearGELULinear(Function):
    @staticmethod
    def forward(ctx, x, weight1, bias1, weight2, bias2):
        hidden = _linear(x, weight1, bias1)
        ctx.save_for_backward(x, weight1, weight2, hidden)
        return _linear(F.gelu(hidden), weight2, bias2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        x, weight1, weight2, hidden = ctx.saved_tensors
        for_x, for_weight1, for_bias1, for_weight2, for_bias2 = ctx.needs_input_grad
        rows, hidden, grad_output = (
            tensor.flatten(0, -2) for tensor in (x, hidden, grad_output)
        )
        grads = dict.fromkeys(('x', 'weight1', 'bias1', 'weight2', 'bias2'))
        activated = F.gelu(hidden)
        if for_weight2:
            grads['weight2'] = grad_output.t() @ activated
        if for_bias2:
            grads['bias2'] = grad_output.sum(0)
        del activated
        grad = _linear(grad_output, weight2.t())
        torch.ops.aten.gelu_backward.grad_input(grad, hidden, grad_input=grad)
        if for_x:
            grads['x'] = _linear(grad, weight1.t()).view_as(x)
        if for_weight1:
            grads['weight1'] = grad.t() @ rows
        if for_bias1:
            grads['bias1'] = grad.sum(0)
        return tuple(grads.values())


def scaled_residual(x: Tensor, residual: Tensor, scale: Tensor) -> Tensor:
    """Add ``residual * scale`` to ``x``, a factor for each image and channel.

    ``torch.addcmul`` does so too, but multiplies whole maps by its factor of 1 in the
    backward pass. Can be differentiated once.

    Args:
        x: ``(N, C, H, W)``.
        residual: Shaped as ``x``.
        scale: ``(N, C, 1, 1)``.

    Example:
        >>> import torch
        >>> ones = torch.ones(1, 2)
        >>> scaled_residual(ones, torch.tensor([[2.0, 3.0]]), ones)
        tensor([[3., 4.]])
    """
    tensors = x, residual, scale
    if _is_differentiable(*tensors):
        return _ScaledResidual.apply(*tensors)
    return torch.addcmul(*tensors)


class _ScaledResidual(Function):
    @staticmethod
    def forward(ctx, x, residual, scale):
        ctx.save_for_backward(residual, scale)
        return torch.addcmul(x, residual, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        residual, scale = ctx.saved_tensors
        grad_residual = grad_scale = None
        if ctx.needs_input_grad[1]:
            grad_residual = grad_output * scale
        if ctx.needs_input_grad[2]:
            grad_scale = (grad_output * residual).sum((2, 3), keepdim=True)
        return grad_output, grad_residual, grad_scale


def _is_differentiable(*tensors):
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _is_on_cpu(x):
    return (
        x.device.type == 'cpu'
        and autocast_dtype('cpu') is None
        and not torch.jit.is_tracing()
    )


def _linear(x, weight, bias=None):
    """Compute ``F.linear``, which runs MKL: oneDNN is faster on AMD's processors."""
    if _has_onednn_linear(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')
    return F.linear(x, weight, bias)


def _has_onednn_linear(x):
    """Tell whether PyTorch offers what its own compiler fuses linear layers with."""
    return (
        x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, '_linear_pointwise')
    )
