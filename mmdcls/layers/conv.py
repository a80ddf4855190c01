"""Convolutions with learnable spacings as drop-in layers.

``DCLSConvN_Md`` is an N-d convolution with positions along its last M axes; the first
axes are dense.
"""

from typing import Any

from .base import DCLSConvNd


def _named_as(name: str) -> Any:
    """Make a base class that does nothing but lend its name.

    mmengine's ``init_cfg`` finds the layers to initialise by the names of a class and
    its direct bases. With this base ``layer='Conv2d'`` means DCLSConv2d too, in every
    model, as it does for other subclasses of PyTorch's convolution.
    """
    return type(name, (), {'__doc__': f'Lets init_cfg find a layer as {name}.'})


class DCLSConv1d(DCLSConvNd, _named_as('Conv1d')):  # type: ignore[misc]
    """1D convolution with learnable spacings; arguments as in :class:`DCLSConvNd`."""

    spatial_dimensions = 1
    learned_dimensions = 1


class DCLSConv2d(DCLSConvNd, _named_as('Conv2d')):  # type: ignore[misc]
    """2D convolution with learnable spacings; arguments as in :class:`DCLSConvNd`.

    Depthwise with stride 1 it runs through :func:`mmdcls.ops.depthwise_conv2d`.
    """

    spatial_dimensions = 2
    learned_dimensions = 2


class DCLSConv3d(DCLSConvNd, _named_as('Conv3d')):  # type: ignore[misc]
    """3D convolution with learnable spacings; arguments as in :class:`DCLSConvNd`."""

    spatial_dimensions = 3
    learned_dimensions = 3


class DCLSConv2_1d(DCLSConvNd, _named_as('Conv2d')):  # type: ignore[misc]
    """2D convolution, dense along the rows, with positions along the columns.

    Arguments as in :class:`DCLSConvNd`; the released ``Dcls2dK1d`` with ``flat_dim=1``
    is this layer with ``dense_kernel_size=1``.
    """

    spatial_dimensions = 2
    learned_dimensions = 1


class DCLSConv3_1d(DCLSConvNd, _named_as('Conv3d')):  # type: ignore[misc]
    """3D convolution, dense along two axes, with positions along the last one.

    Arguments as in :class:`DCLSConvNd`; the released ``Dcls3_1d``.
    """

    spatial_dimensions = 3
    learned_dimensions = 1


class DCLSConv3_2d(DCLSConvNd, _named_as('Conv3d')):  # type: ignore[misc]
    """3D convolution, dense along the first axis, with positions along the last two.

    Arguments as in :class:`DCLSConvNd`.
    """

    spatial_dimensions = 3
    learned_dimensions = 2
