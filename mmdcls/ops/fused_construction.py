"""2D kernels on a GPU, built in one launch forward and one backward.

A program has one kernel row of the shared positions, loops over the layers that share
them, and sums their gradient as it goes: nothing is added by several threads, so that
kernels and gradients are the same in each run.
"""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mmdcls.compat import custom_op

from .backends.gpu import has_triton, is_interpreted

# A program holds both factors of a kernel, and the kernel.
_LARGEST_SIZE, _LARGEST_COUNT = 64, 128


def can_fuse(weight: Tensor, kernel_size: tuple[int, ...]) -> bool:
    """Tell whether kernels of this size are built here from tensors as ``weight``."""
    return (
        weight.device.type == ('cpu' if is_interpreted() else 'cuda')
        and weight.dtype == torch.float32
        and len(kernel_size) == 2
        and max(kernel_size) <= _LARGEST_SIZE
        and weight.shape[-1] <= _LARGEST_COUNT
        and weight.numel() > 0
        and has_triton()
    )


class FusedKernel(Function):
    """As the functions of ``kernel.py``, with the same arguments for all of them.

    Takes weight ``(layers, rows, m)``, positions ``(2, rows, m)``, sigma ``(2, layers,
    rows, m)`` or None, the size of the kernel and the interpolation; gives
    ``(layers, rows, *kernel_size)``.
    """

    @staticmethod
    def forward(ctx, weight, positions, sigma, kernel_size, interpolation):
        """Build the kernels."""
        ctx.save_for_backward(weight, positions, sigma)
        ctx.arguments = list(kernel_size), interpolation
        return construct(weight, positions, sigma, *ctx.arguments)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_kernel):
        """Compute the gradients of weight, positions and sigma."""
        gradients = construct_backward(grad_kernel, *ctx.saved_tensors, *ctx.arguments)
        if ctx.saved_tensors[2] is None:
            gradients = *gradients[:2], None
        return *gradients, None, None


@custom_op(
    'mmdcls::construct',
    '(Tensor weight, Tensor positions, Tensor? sigma, int[] kernel_size, '
    'str interpolation) -> Tensor',
)
def construct(
    weight: Tensor,
    positions: Tensor,
    sigma: Tensor | None,
    kernel_size: list[int],
    interpolation: str,
) -> Tensor:
    """Build ``(layers, rows, *kernel_size)``; arguments as in :class:`FusedKernel`."""
    from .fused_construction_kernels import launch

    out = weight.new_empty((*weight.shape[:2], *kernel_size))
    weight, positions, sigma = _dense(weight, positions, sigma)
    launch(weight, positions, sigma, out, interpolation)
    return out


@construct.register_fake
def _empty_kernel(weight, positions, sigma, kernel_size, interpolation):
    return weight.new_empty((*weight.shape[:2], *kernel_size))


@custom_op(
    'mmdcls::construct_backward',
    '(Tensor grad_kernel, Tensor weight, Tensor positions, Tensor? sigma, '
    'int[] kernel_size, str interpolation) -> (Tensor, Tensor, Tensor)',
)
def construct_backward(
    grad_kernel: Tensor,
    weight: Tensor,
    positions: Tensor,
    sigma: Tensor | None,
    kernel_size: list[int],
    interpolation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute gradients of weight, positions and sigma (empty without sigma)."""
    from .fused_construction_kernels import launch_backward

    gradients = _empty_gradients(
        grad_kernel, weight, positions, sigma, kernel_size, interpolation
    )
    launch_backward(
        grad_kernel.contiguous(),
        *_dense(weight, positions, sigma),  # type: ignore[call-arg]
        *gradients,
        interpolation,
    )
    return gradients


@construct_backward.register_fake
def _empty_gradients(grad_kernel, weight, positions, sigma, kernel_size, interpolation):
    return (
        weight.new_empty(weight.shape),
        positions.new_empty(positions.shape),
        weight.new_empty(0 if sigma is None else sigma.shape),
    )


def _dense(*tensors):
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]
