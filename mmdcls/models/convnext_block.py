"""The block of ConvNeXt in fewer passes over the activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models.backbones.convnext import ConvNeXtBlock
from mmpretrain.models.utils import LayerNorm2d
from torch import Tensor, nn

from mmdcls.compat import has_global_hooks
from mmdcls.layers import DCLSConv2d
from mmdcls.ops import depthwise_conv2d, linear_gelu_linear, scaled_residual
from mmdcls.ops.nchw_block import (
    choose_format,
    norm_to_channels_last,
    residual_to_nchw,
)


def can_run_fused(block: nn.Module) -> bool:
    """Tell whether :func:`run_fused` computes what calling a block does.

    It does for the block of Liu et al., none of whose parts has been swapped, and where
    nobody waits for a call that it leaves out: of the block itself, of its pointwise
    layers, or of its activation. Grad-CAM, profilers and pruning do, by hooks.

    Args:
        block: Any module.
    """
    if type(block) is not ConvNeXtBlock or has_global_hooks():
        return False
    left_out = (block, block.pointwise_conv1, block.act, block.pointwise_conv2)
    return (
        type(block.pointwise_conv1) is type(block.pointwise_conv2) is nn.Linear
        and type(block.act) is nn.GELU
        and block.act.approximate == 'none'
        and block.grn is None
        and block.gamma is not None
        and not any(map(_has_hooks, left_out))
    )


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def run_fused(block: ConvNeXtBlock, x: Tensor, kernel: Tensor | None = None) -> Tensor:
    """Compute ``x`` plus the residual of a block.

    Equal to calling the block, in outputs, gradients and the random numbers that
    stochastic depth draws. Layer scale and stochastic depth are one factor a channel
    and image, and the pointwise layers are one operation.

    Args:
        block: One that :func:`can_run_fused`.
        x: Activations, ``(N, C, H, W)``.
        kernel: The kernel of the depthwise convolution, if it is there already.

    Returns:
        ``(N, C, H, W)``.
    """
    built = {} if kernel is None else {'kernel': kernel}
    residual = block.depthwise_conv(x, **built).permute(0, 2, 3, 1)
    residual = block.norm(residual, data_format='channel_last')
    residual = _run_pointwise(block, residual)
    return scaled_residual(x, residual.permute(0, 3, 1, 2), _scale(block, x))


def _run_pointwise(block, residual):
    first, second = block.pointwise_conv1, block.pointwise_conv2
    return linear_gelu_linear(
        residual, first.weight, first.bias, second.weight, second.bias
    )


def _scale(block, x):
    """Return layer scale and stochastic depth as one factor a channel and image."""
    scale = block.gamma.view(1, -1, 1, 1)
    return block.drop_path(scale.expand(x.shape[0], -1, -1, -1))


# --- On NCHW maps -------------------------------------------------------------------


def takes_nchw(blocks: Sequence[nn.Module], x: Tensor) -> bool:
    """Tell whether a stage is to run by :func:`run_in_nchw`, for it is faster so.

    It is where that was measured on the GPU at hand (:func:`.choose_format`), and where
    each block has the parts that it needs, with no hooks on those that it leaves out.

    Args:
        blocks: The blocks of the stage, each one that :func:`can_run_fused`.
        x: The maps that the stage is called with.
    """
    if not all(map(_can_run_in_nchw, blocks)):
        return False
    first: Any = blocks[0].depthwise_conv
    training = torch.is_grad_enabled() and any(
        parameter.requires_grad for parameter in blocks[0].parameters()
    )
    return choose_format(x, first.kernel_size, training) == 'nchw'


def _can_run_in_nchw(block):
    conv, norm = block.depthwise_conv, block.norm
    return (
        type(conv) is DCLSConv2d
        and type(norm) is LayerNorm2d
        and conv.backend == 'auto'
        and conv.stride == (1, 1)
        and conv.padding_mode == 'zeros'
        and conv.padding == tuple(size // 2 for size in conv.kernel_size)
        and norm.weight is not None
        and norm.bias is not None
        and not _has_hooks(conv)
        and not _has_hooks(norm)
    )


def run_in_nchw(block: ConvNeXtBlock, x: Tensor, kernel: Tensor | None) -> Tensor:
    """Compute what :func:`run_fused` does, on a GPU, with NCHW maps between blocks.

    The convolution runs on tensor cores, which take NCHW; the normalisation and the
    residual lay the maps out anew for the pointwise layers as they go. The gradient of
    the convolution's bias comes from the normalisation.

    Args:
        block: One of a stage that :func:`takes_nchw`.
        x: Activations, dense ``(N, C, H, W)``.
        kernel: The kernel of the depthwise convolution, if it is there already.

    Returns:
        Dense ``(N, C, H, W)``.
    """
    conv, norm = block.depthwise_conv, block.norm
    if kernel is None:
        kernel = conv.construct_kernel()
    maps = depthwise_conv2d(x, kernel, None, padding=conv.padding, backend='toeplitz')
    residual = norm_to_channels_last(maps, conv.bias, norm.weight, norm.bias, norm.eps)
    residual = _run_pointwise(block, residual)
    return residual_to_nchw(x, residual, _scale(block, x))
