"""The paper's baselines: ConvNeXt and ResNet with other fixed kernels."""

from __future__ import annotations

from collections.abc import Callable

from mmpretrain.models.backbones import ConvNeXt, ResNet
from torch import nn

from mmdcls.checkpoints import PretrainedGuard
from mmdcls.errors import ArgumentError
from mmdcls.registry import MODELS


@MODELS.register_module()
class ConvNeXtBaseline(PretrainedGuard, ConvNeXt):
    """mmpretrain's ConvNeXt with another kernel in every depthwise convolution.

    Paper Table 2: ConvNeXt-T-dil2 (7x7, dilation 2) and ConvNeXt-T-ker17 (17x17).

    Args:
        *args: Positional arguments of :class:`mmpretrain.models.ConvNeXt`.
        kernel_size: Side of the square kernel; odd, so that the map keeps its size.
        dilation: Distance of the kernel's elements, in pixels.
        **kwargs: Further arguments of :class:`mmpretrain.models.ConvNeXt`.

    Raises:
        ArgumentError: If ``kernel_size`` is even or below 1, or ``dilation`` below 1.
    """

    def __init__(
        self, *args, kernel_size: int = 7, dilation: int = 1, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        _replace(self, _is_depthwise, kernel_size, dilation)
        self._freeze_stages()

    def train(self, mode: bool = True) -> ConvNeXtBaseline:
        """Set the mode; the parent's returns nothing."""
        super().train(mode)
        return self


@MODELS.register_module()
class ResNetBaseline(PretrainedGuard, ResNet):
    """mmpretrain's ResNet with another kernel in every 3x3 convolution of its blocks.

    Paper Table 1: ResNet-50 with 7x7 kernels, and with 3x3 ones of dilation 2 and 3.
    Strides stay as they are.

    Args:
        *args: Positional arguments of :class:`mmpretrain.models.ResNet`.
        kernel_size: Side of the square kernel; odd, so that the map keeps its size.
        dilation: Distance of the kernel's elements, in pixels.
        **kwargs: Further arguments of :class:`mmpretrain.models.ResNet`.

    Raises:
        ArgumentError: If ``kernel_size`` is even or below 1, or ``dilation`` below 1.
    """

    def __init__(
        self, *args, kernel_size: int = 3, dilation: int = 1, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        for name in self.res_layers:
            _replace(getattr(self, name), _is_3x3, kernel_size, dilation)
        self._freeze_stages()

    def train(self, mode: bool = True) -> ResNetBaseline:
        """Set the mode; the parent's returns nothing."""
        super().train(mode)
        return self


def _is_depthwise(convolution: nn.Conv2d) -> bool:
    return convolution.groups == convolution.in_channels > 1


def _is_3x3(convolution: nn.Conv2d) -> bool:
    return convolution.kernel_size == (3, 3)


def _replace(
    model: nn.Module,
    chosen: Callable[[nn.Conv2d], bool],
    kernel_size: int,
    dilation: int,
) -> None:
    """Swap the chosen convolutions for ones of another kernel, in place."""
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ArgumentError(
            f"kernel_size={kernel_size} must be odd and at least 1, to keep the map's "
            'size.'
        )
    if dilation < 1:
        raise ArgumentError(f'dilation={dilation} must be at least 1.')
    for name, old in list(model.named_modules()):
        if not (isinstance(old, nn.Conv2d) and chosen(old)):
            continue
        parent, _, child = name.rpartition('.')
        new = nn.Conv2d(
            old.in_channels,
            old.out_channels,
            kernel_size,
            old.stride,  # type: ignore[arg-type]
            padding=dilation * (kernel_size - 1) // 2,
            dilation=dilation,
            groups=old.groups,
            bias=old.bias is not None,
        )
        setattr(model.get_submodule(parent), child, new)
