"""The block of ConvNeXt in fewer passes over the activations."""

from __future__ import annotations

from mmpretrain.models.backbones.convnext import ConvNeXtBlock
from torch import Tensor, nn

from mmdcls.compat import has_global_hooks
from mmdcls.ops import linear_gelu_linear, scaled_residual


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
    first, second = block.pointwise_conv1, block.pointwise_conv2
    built = {} if kernel is None else {'kernel': kernel}
    residual = block.depthwise_conv(x, **built).permute(0, 2, 3, 1)
    residual = block.norm(residual, data_format='channel_last')
    residual = linear_gelu_linear(
        residual, first.weight, first.bias, second.weight, second.bias
    )
    scale = block.gamma.view(1, -1, 1, 1)
    scale = block.drop_path(scale.expand(x.shape[0], -1, -1, -1))
    return scaled_residual(x, residual.permute(0, 3, 1, 2), scale)
