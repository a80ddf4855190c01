"""Depthwise convolution by MegEngine's implicit-GEMM extension for PyTorch.

The extension (``depthwise_conv2d_implicit_gemm``, published with RepLKNet and used by
the released DCLS models) is compiled by its users. It is used when asked for by name
and never chosen automatically.
"""

import importlib
import importlib.util

import torch
from torch import Tensor

from mmdcls.errors import ArgumentError, MissingPackageError, MmdclsError

_EXTENSION = 'depthwise_conv2d_implicit_gemm'


def can_run(
    operation: str,
    x: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    raise_error: bool = False,
) -> bool:
    """Tell whether ``operation`` can run here.

    The extension must be installed; it does float32 and float16 on CUDA, odd square
    kernels and the padding that keeps the size.

    Raises:
        MissingPackageError: If the extension is missing and ``raise_error`` is set.
        ArgumentError: If it refuses these tensors and ``raise_error`` is set.
    """
    error: MmdclsError | None = None
    if importlib.util.find_spec(_EXTENSION) is None:
        error = MissingPackageError(
            f"backend 'implicit_gemm' needs the extension '{_EXTENSION}', which is "
            'not installed.'
        )
    elif x.device.type != 'cuda':
        error = ArgumentError(
            f"backend 'implicit_gemm' accepts CUDA tensors only, got one on {x.device}."
        )
    elif x.dtype not in (torch.float32, torch.float16):
        error = ArgumentError(
            "backend 'implicit_gemm' accepts torch.float32 and torch.float16 only, got "
            f'{x.dtype}.'
        )
    elif (
        kernel_size[0] != kernel_size[1]
        or kernel_size[0] % 2 == 0
        or any(p != k // 2 for p, k in zip(padding, kernel_size, strict=True))
    ):
        error = ArgumentError(
            "backend 'implicit_gemm' accepts odd square kernels with padding "
            f'kernel_size // 2 only, got kernel size {tuple(kernel_size)} with padding '
            f'{tuple(padding)}.'
        )
    if error is not None and raise_error:
        raise error
    return error is None


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    """Convolve depthwise; the result is in NCHW memory."""
    output = _function(x.dtype).apply(x.contiguous(), weight.contiguous())
    return output if bias is None else output + bias[:, None, None]


def grad_input(
    grad_output: Tensor,
    weight: Tensor,
    input_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Convolve the output's gradient with the flipped kernel: the input's gradient."""
    return forward(grad_output, weight.flip(2, 3), None, padding)


def grad_weight(
    x: Tensor,
    grad_output: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """Compute the weight's gradient by the extension's own backward."""
    with torch.enable_grad():
        weight = x.new_zeros(x.shape[1], 1, *kernel_size).requires_grad_()
        output = _function(x.dtype).apply(x.detach().contiguous(), weight)
    return torch.autograd.grad(output, weight, grad_output.contiguous())[0]


def _function(dtype):
    extension = importlib.import_module(_EXTENSION)
    if dtype == torch.float16:
        return extension._DepthWiseConv2dImplicitGEMMFP16
    return extension._DepthWiseConv2dImplicitGEMMFP32
