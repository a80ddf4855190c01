"""ResNet whose 3x3 convolutions have learnable spacings."""

from __future__ import annotations

from mmcv.cnn import fuse_conv_bn
from mmpretrain.models.backbones import ResNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdcls.checkpoints import PretrainedGuard
from mmdcls.layers.convert import convert_to_dcls, convert_to_plain
from mmdcls.registry import MODELS

from .position_notice import PositionNotice
from .stage import Stage


@MODELS.register_module()
class ResNetDCLS(PositionNotice, PretrainedGuard, ResNet):
    """mmpretrain's ResNet with every 3x3 convolution of its blocks replaced.

    Paper §4.1 and Table 1: ResNet-50 with 7x7 kernels of 5 or 6 elements. The
    convolutions of a stage that have the same channels, the strided one included, share
    one position tensor and keep weights of their own; the printed parameter counts come
    out in no other way. The stem is left as it is.

    Args:
        depth: 18, 34, 50, 101 or 152.
        dilated_kernel_size: Side of the square kernel, in pixels; odd.
        kernel_count: Number of elements of each kernel.
        share_positions: Share positions within a stage.
        interpolation: ``'bilinear'``, ``'triangle'`` or ``'gaussian'``.
        position_init: ``'normal'`` (standard deviation 0.5) or ``'uniform'``.
        deploy: Build plain convolutions with biases and without batch norms, for
            checkpoints that :meth:`switch_to_deploy` has folded.
        with_cp: Checkpoint each block, without re-entrance: see :class:`ConvNeXtDCLS`.
        **kwargs: The remaining arguments of :class:`mmpretrain.models.ResNet`.

    Raises:
        KeyError: If ``depth`` is unknown.
        ValueError: If ``dilated_kernel_size`` is even or below 1, or if
            ``kernel_count`` is below 1.

    Example:
        >>> import torch
        >>> from mmdcls.models import ResNetDCLS
        >>> backbone = ResNetDCLS(50, out_indices=(0, 1, 2, 3))
        >>> [tuple(level.shape) for level in backbone(torch.rand(1, 3, 64, 64))]
        [(1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 2048, 2, 2)]
    """

    def __init__(
        self,
        depth: int = 50,
        dilated_kernel_size: int = 7,
        kernel_count: int = 5,
        share_positions: bool = True,
        interpolation: str = 'bilinear',
        position_init: str = 'normal',
        deploy: bool = False,
        with_cp: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(depth=depth, **kwargs)
        self.with_cp = with_cp
        for name in self.res_layers:
            stage = Stage(*getattr(self, name))
            setattr(self, name, stage)
            convert_to_dcls(
                stage,
                select=_is_3x3,
                dilated_kernel_size=dilated_kernel_size,
                kernel_count=kernel_count,
                share_positions=_channels if share_positions else None,
                interpolation=interpolation,
                position_init=position_init,
            )
        if deploy:
            self.switch_to_deploy()
        self._announce_positions()
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps of the stages in ``out_indices``.

        Args:
            x: Images, ``(N, in_channels, H, W)``.

        Returns:
            One ``(N, C_i, H_i, W_i)`` a stage.
        """
        self._warn_of_untreated_positions()
        x = self.stem(x) if self.deep_stem else self.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(x)
        outs = []
        for i, name in enumerate(self.res_layers):
            x = getattr(self, name)(x, self.with_cp)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> ResNetDCLS:
        """Set the mode; frozen stages and, with ``norm_eval``, norms stay as they are.

        The parent's returns nothing, against the contract of :class:`torch.nn.Module`.
        """
        super().train(mode)
        return self

    def switch_to_deploy(self) -> None:
        """Fold positions and batch norms into plain convolutions, in place.

        A batch norm is folded with its running statistics, so that outputs stay those
        of the evaluation mode, and leaves an ``Identity``, which the parent's blocks
        call in its place. Norms of another kind, and batch norms without running
        statistics or weights of their own (``norm_cfg``), stay as they are.
        """
        convert_to_plain(self)
        norms = [module for module in self.modules() if isinstance(module, _BatchNorm)]
        if all(norm.affine and norm.track_running_stats for norm in norms):
            fuse_conv_bn(self)
        # Folded weights are new parameters.
        self._freeze_stages()


def _is_3x3(name: str, convolution: nn.Conv2d) -> bool:
    return convolution.kernel_size == (3, 3)


def _channels(name: str, convolution: nn.Conv2d) -> tuple[int, int]:
    return convolution.in_channels, convolution.out_channels
