"""Convolutions with learnable spacings as drop-in layers.

``DCLSConvN_Md`` is an N-d convolution with positions along its last M axes; the first
axes are dense.
"""

from mmdcls.registry import MODELS

from .base import DCLSConvNd


@MODELS.register_module()
class DCLSConv1d(DCLSConvNd):
    """1D convolution with learnable spacings; arguments as in :class:`DCLSConvNd`."""

    spatial_dimensions = 1
    learned_dimensions = 1


@MODELS.register_module()
class DCLSConv2d(DCLSConvNd):
    """2D convolution with learnable spacings; arguments as in :class:`DCLSConvNd`.

    Depthwise with stride 1 it runs through :func:`mmdcls.ops.depthwise_conv2d`.
    """

    spatial_dimensions = 2
    learned_dimensions = 2


@MODELS.register_module()
class DCLSConv3d(DCLSConvNd):
    """3D convolution with learnable spacings; arguments as in :class:`DCLSConvNd`."""

    spatial_dimensions = 3
    learned_dimensions = 3


@MODELS.register_module()
class DCLSConv2_1d(DCLSConvNd):
    """2D convolution, dense along the rows, with positions along the columns.

    Arguments as in :class:`DCLSConvNd`; the released ``Dcls2dK1d`` with ``flat_dim=1``
    is this layer with ``dense_kernel_size=1``.
    """

    spatial_dimensions = 2
    learned_dimensions = 1


@MODELS.register_module()
class DCLSConv3_1d(DCLSConvNd):
    """3D convolution, dense along two axes, with positions along the last one.

    Arguments as in :class:`DCLSConvNd`; the released ``Dcls3_1d``.
    """

    spatial_dimensions = 3
    learned_dimensions = 1


@MODELS.register_module()
class DCLSConv3_2d(DCLSConvNd):
    """3D convolution, dense along the first axis, with positions along the last two.

    Arguments as in :class:`DCLSConvNd`.
    """

    spatial_dimensions = 3
    learned_dimensions = 2
