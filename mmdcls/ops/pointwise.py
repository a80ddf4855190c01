"""What a ConvNeXt block does besides convolving: pointwise layers and the residual."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mmdcls.compat import autocast_dtype, is_compiling


def linear_gelu_linear(
    x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor
) -> Tensor:
    """Expand, apply a GELU, and project back.

    Equal to ``F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)``, and that
    is what runs where nothing faster is known: off the CPU, under autocast, and while a
    model is compiled, exported or traced. On a CPU the values between the layers, four
    times as many as ``x`` has, go through memory less often: without gradients oneDNN
    adds the bias and applies the GELU as it multiplies, and with gradients only the
    values before the GELU are kept, which frees half of the memory. Can then be
    differentiated once.

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
    if not _is_eager_on_cpu(x):
        return F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return _LinearGELULinear.apply(*tensors)
    if _has_fused_linear(x):
        linear = torch.ops.mkldnn._linear_pointwise
        hidden = linear(x, weight1, bias1, 'gelu', [], 'none')
        return linear(hidden, weight2, bias2, 'none', [], '')
    hidden = torch.ops.aten.gelu_(F.linear(x, weight1, bias1))
    return F.linear(hidden, weight2, bias2)


class _LinearGELULinear(Function):
    @staticmethod
    def forward(ctx, x, weight1, bias1, weight2, bias2):
        hidden = F.linear(x, weight1, bias1)
        ctx.save_for_backward(x, weight1, weight2, hidden)
        return F.linear(F.gelu(hidden), weight2, bias2)

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
        # Both of what follows overwrite what is no longer needed.
        grad = torch.mm(grad_output, weight2, out=activated)
        torch.ops.aten.gelu_backward.grad_input(grad, hidden, grad_input=grad)
        if for_x:
            grads['x'] = (grad @ weight1).view_as(x)
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
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
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


def _is_eager_on_cpu(x):
    return (
        x.device.type == 'cpu'
        and autocast_dtype('cpu') is None
        and not is_compiling()
        and not torch.jit.is_tracing()
    )


def _has_fused_linear(x):
    """Tell whether PyTorch offers what its own compiler fuses linear layers with."""
    return (
        x.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, '_linear_pointwise')
    )
