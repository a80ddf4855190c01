"""ConvNeXt whose depthwise convolutions have learnable spacings."""

from __future__ import annotations

import torch
from mmpretrain.models.backbones import ConvNeXt
from mmpretrain.models.utils import LayerNorm2d
from torch import Tensor, nn

from mmdcls.checkpoints import PretrainedGuard
from mmdcls.errors import ArgumentError
from mmdcls.layers import iter_dcls_layers
from mmdcls.layers.convert import convert_to_dcls
from mmdcls.registry import MODELS

from .position_notice import PositionNotice
from .stage import ConvNeXtStage


@MODELS.register_module()
class ConvNeXtDCLS(PositionNotice, PretrainedGuard, ConvNeXt):
    """mmpretrain's ConvNeXt with every depthwise convolution replaced by a DCLS one.

    Paper §4.2: 17x17 kernels of 34 elements for tiny, 40 for small and base; the
    blocks of a stage share one position tensor and keep weights of their own (§3,
    "Synchronizing positions"). Everything else, ``get_layer_depth`` and the names of
    the parameters included, is the parent's.

    Activations stay in ``channels_last`` memory all the way, which is the layout
    that both the depthwise convolution and the pointwise layers run fastest in; the
    normalised outputs are contiguous as the parent's are. Blocks run in fewer passes
    than the parent's (:func:`run_fused`) unless hooks are on what that leaves out. A
    stage keeps its maps in NCHW instead where that was measured to be faster on the GPU
    at hand (:func:`run_in_nchw`).

    Args:
        arch: A name of ``ConvNeXt.arch_settings``, or a dict of ``depths`` and
            ``channels``.
        dilated_kernel_size: Side of the square kernel, in pixels; odd, so that the
            padding keeps the map's size.
        kernel_count: Number of elements of each kernel.
        share_positions: One position tensor a stage instead of one a block.
        interpolation: ``'bilinear'``, ``'triangle'`` or ``'gaussian'``.
        position_init: ``'normal'`` (standard deviation 0.5) or ``'uniform'``.
        backend: The name of the backend that runs the depthwise convolution, see
            :func:`mmdcls.ops.depthwise_conv2d`.
        deploy: Build plain convolutions, for checkpoints that
            :meth:`switch_to_deploy` has folded.
        with_cp: Checkpoint each block. Without re-entrance, so that shared positions
            get one gradient under DDP.
        init_cfg: The config of the initialisation, as in the parent; None stands for
            the parent's default.
        **kwargs: The remaining arguments of :class:`mmpretrain.models.ConvNeXt`.

    Raises:
        ArgumentError: If ``dilated_kernel_size`` is even or below 1, if
            ``kernel_count`` is below 1, or if ``arch`` is unknown.

    Example:
        >>> import torch
        >>> from mmdcls.models import ConvNeXtDCLS
        >>> backbone = ConvNeXtDCLS('atto', out_indices=(0, 1, 2, 3),
        ...                         gap_before_final_norm=False)
        >>> [tuple(level.shape) for level in backbone(torch.rand(1, 3, 64, 64))]
        [(1, 40, 16, 16), (1, 80, 8, 8), (1, 160, 4, 4), (1, 320, 2, 2)]
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        dilated_kernel_size: int = 17,
        kernel_count: int = 34,
        share_positions: bool = True,
        interpolation: str = 'bilinear',
        position_init: str = 'normal',
        backend: str = 'auto',
        deploy: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
        **kwargs,
    ) -> None:
        if isinstance(arch, str) and arch not in self.arch_settings:
            raise ArgumentError(
                f"ConvNeXtDCLS: arch='{arch}' is not one of "
                f'{", ".join(self.arch_settings)}.'
            )
        if dilated_kernel_size < 1 or dilated_kernel_size % 2 == 0:
            raise ArgumentError(
                f'ConvNeXtDCLS: dilated_kernel_size={dilated_kernel_size} must be odd '
                "and at least 1: symmetric padding cannot keep the map's size with "
                'an even one.'
            )
        if init_cfg is not None:
            kwargs['init_cfg'] = init_cfg
        super().__init__(arch=arch, **kwargs)
        self.with_cp = with_cp
        for i, stage in enumerate(self.stages):
            self.stages[i] = stage = ConvNeXtStage(*stage)
            convert_to_dcls(
                stage,
                select=r'depthwise_conv$',
                dilated_kernel_size=dilated_kernel_size,
                kernel_count=kernel_count,
                share_positions=_one_a_stage if share_positions else None,
                interpolation=interpolation,
                position_init=position_init,
                backend=backend,
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
            One tensor a stage: ``(N, C_i)`` with ``gap_before_final_norm``, else
            ``(N, C_i, H_i, W_i)``.
        """
        self._warn_of_untreated_positions()
        outs = []
        for i, stage in enumerate(self.stages):
            x = self._downsample(self.downsample_layers[i], x)
            x = stage(x, self.with_cp)
            if i in self.out_indices:
                norm = getattr(self, f'norm{i}')
                if self.gap_before_final_norm:
                    outs.append(norm(x.mean([-2, -1], keepdim=True)).flatten(1))
                else:
                    outs.append(norm(x))
        return tuple(outs)

    def _downsample(self, layers: nn.Sequential, x: Tensor) -> Tensor:
        """Run a convolution and a norm, in either order, in channels_last memory."""
        for layer in layers:
            x = x.contiguous(memory_format=torch.channels_last)
            if isinstance(layer, LayerNorm2d):
                # With its default it would return a contiguous copy.
                x = layer(x.permute(0, 2, 3, 1), data_format='channel_last')
                x = x.permute(0, 3, 1, 2)
            else:
                x = layer(x)
        return x.contiguous(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> ConvNeXtDCLS:
        """Set the mode and keep frozen stages in evaluation.

        The parent's returns nothing, against the contract of :class:`torch.nn.Module`.
        """
        super().train(mode)
        return self

    def switch_to_deploy(self) -> None:
        """Fold every DCLS layer into a plain convolution, in place."""
        for layer in list(iter_dcls_layers(self)):
            layer.switch_to_deploy()


def _one_a_stage(name: str, convolution: nn.Conv2d) -> int:
    return 0
