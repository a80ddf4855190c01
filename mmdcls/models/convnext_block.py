"""The block of ConvNeXtDCLS."""

from mmpretrain.models.backbones.convnext import ConvNeXtBlock
from torch import Tensor, nn

from mmdcls.ops import linear_gelu_linear, scaled_residual


class ConvNeXtDCLSBlock(ConvNeXtBlock):
    """mmpretrain's ConvNeXtBlock with fewer passes over the activations.

    Equal to the parent, in outputs, gradients, parameters and the random numbers that
    stochastic depth draws. Layer scale and stochastic depth are one factor a channel
    and image, and the pointwise layers are one operation.
    """

    def forward(self, x: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Compute ``x`` plus the block's residual, both ``(N, C, H, W)``.

        ``kernel`` is that of the depthwise convolution, if it is there already.
        """
        if not self.is_the_papers():
            return super().forward(x)
        first, second = self.pointwise_conv1, self.pointwise_conv2
        built = {} if kernel is None else {'kernel': kernel}
        residual = self.depthwise_conv(x, **built).permute(0, 2, 3, 1)
        residual = self.norm(residual, data_format='channel_last')
        residual = linear_gelu_linear(
            residual, first.weight, first.bias, second.weight, second.bias
        )
        scale = self.gamma.view(1, -1, 1, 1)
        scale = self.drop_path(scale.expand(x.shape[0], -1, -1, -1))
        return scaled_residual(x, residual.permute(0, 3, 1, 2), scale)

    def is_the_papers(self) -> bool:
        """Whether the block has what Liu et al.'s has, and nothing has been swapped."""
        return (
            type(self.pointwise_conv1) is type(self.pointwise_conv2) is nn.Linear
            and type(self.act) is nn.GELU
            and self.act.approximate == 'none'
            and self.grn is None
            and self.gamma is not None
        )
