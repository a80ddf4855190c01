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
    """1D convolution with learnable spacings; arguments as in :class:`DCLSConvNd`.

    Example:
        >>> import torch
        >>> layer = DCLSConv1d(4, 8, kernel_count=3, dilated_kernel_size=9, padding=4)
        >>> layer(torch.ones(1, 4, 20)).shape
        torch.Size([1, 8, 20])
    """

    spatial_dimensions = 1
    learned_dimensions = 1


class DCLSConv2d(DCLSConvNd, _named_as('Conv2d')):  # type: ignore[misc]
    """2D convolution with learnable spacings; arguments as in :class:`DCLSConvNd`.

    Depthwise with stride 1 it runs through :func:`mmdcls.ops.depthwise_conv2d`.

    Example:
        >>> import torch
        >>> layer = DCLSConv2d(8, 8, kernel_count=5, dilated_kernel_size=7, groups=8)
        >>> layer.weight.shape  # Five elements a kernel,
        torch.Size([8, 1, 5])
        >>> layer.positions.shape  # each with two coordinates.
        torch.Size([2, 8, 1, 5])
        >>> layer(torch.ones(1, 8, 20, 20)).shape
        torch.Size([1, 8, 14, 14])
    """

    spatial_dimensions = 2
    learned_dimensions = 2


class DCLSConv3d(DCLSConvNd, _named_as('Conv3d')):  # type: ignore[misc]
    """3D convolution with learnable spacings; arguments as in :class:`DCLSConvNd`.

    Example:
        >>> import torch
        >>> layer = DCLSConv3d(2, 2, 4, dilated_kernel_size=5, padding='same')
        >>> layer(torch.ones(1, 2, 6, 6, 6)).shape
        torch.Size([1, 2, 6, 6, 6])
    """

    spatial_dimensions = 3
    learned_dimensions = 3


class DCLSConv2_1d(DCLSConvNd, _named_as('Conv2d')):  # type: ignore[misc]
    """2D convolution, dense along the rows, with positions along the columns.

    Arguments as in :class:`DCLSConvNd`; the released ``Dcls2dK1d`` with ``flat_dim=1``
    is this layer with ``dense_kernel_size=1``.

    Example:
        >>> layer = DCLSConv2_1d(2, 4, kernel_count=3, dilated_kernel_size=7)
        >>> layer.positions.shape[0]  # Positions along one of the two axes.
        1
    """

    spatial_dimensions = 2
    learned_dimensions = 1


class DCLSConv3_1d(DCLSConvNd, _named_as('Conv3d')):  # type: ignore[misc]
    """3D convolution, dense along two axes, with positions along the last one.

    Arguments as in :class:`DCLSConvNd`; the released ``Dcls3_1d``.

    Example:
        >>> layer = DCLSConv3_1d(2, 4, kernel_count=3, dilated_kernel_size=7)
        >>> layer.positions.shape[0]  # Positions along one of the three axes.
        1
    """

    spatial_dimensions = 3
    learned_dimensions = 1


class DCLSConv3_2d(DCLSConvNd, _named_as('Conv3d')):  # type: ignore[misc]
    """3D convolution, dense along the first axis, with positions along the last two.

    Arguments as in :class:`DCLSConvNd`.

    Example:
        >>> layer = DCLSConv3_2d(2, 4, kernel_count=3, dilated_kernel_size=7)
        >>> layer.positions.shape[0]  # Positions along two of the three axes.
        2
    """

    spatial_dimensions = 3
    learned_dimensions = 2
