"""The released ``dcls`` package behind our names and axes, for parity tests.

Its axes of ``P`` are not always in the order of the kernel's: see ``AXES``. Where
versions shift by the size of another axis, only kernels of equal sizes can agree.
"""

import torch
from DCLS.construct.modules import Dcls1d, Dcls2d, Dcls2dK1d, Dcls3_1d, Dcls3d

from mmdcls.layers import DCLSConv1d, DCLSConv2_1d, DCLSConv2d, DCLSConv3_1d, DCLSConv3d

CLASSES = {
    DCLSConv1d: Dcls1d,
    DCLSConv2d: Dcls2d,
    DCLSConv3d: Dcls3d,
    DCLSConv2_1d: Dcls2dK1d,
    DCLSConv3_1d: Dcls3_1d,
}
VERSIONS = {'bilinear': 'v0', 'triangle': 'max', 'gaussian': 'gauss'}

# Released axis i of the positions is ours AXES[number of axes, version][i].
AXES = {
    (1, 'v0'): [0],
    (1, 'v1'): [0],
    (1, 'max'): [0],
    (1, 'gauss'): [0],
    (2, 'v0'): [0, 1],
    (2, 'max'): [1, 0],
    (2, 'gauss'): [1, 0],
    (3, 'v0'): [0, 2, 1],
    (3, 'max'): [2, 1, 0],
    (3, 'gauss'): [2, 1, 0],
}


def released_version(layer):
    """The version that computes what ``layer`` does; ``Dcls3_1d`` has no ``v0``."""
    version = VERSIONS[layer.interpolation]
    if isinstance(layer, DCLSConv3_1d) and version == 'v0':
        return 'v1'
    return version


def released_axes(layer):
    """For each axis of the released positions, the axis of ours."""
    return AXES[layer.learned_dimensions, released_version(layer)]


def make_released(layer):
    """The released layer with the sizes, dtype and parameters of ``layer``."""
    options = {}
    if isinstance(layer, DCLSConv2_1d):
        options['flat_dim'] = 1
    if isinstance(layer, DCLSConv3_1d):
        options['dense_kernel_size'] = layer.dense_kernel_size
    released = CLASSES[type(layer)](
        layer.in_channels,
        layer.out_channels,
        layer.kernel_count,
        stride=layer.stride,
        padding=layer.padding,
        dilated_kernel_size=layer.dilated_kernel_size,
        groups=layer.groups,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
        version=released_version(layer),
        **options,
    ).to(layer.weight.dtype)
    axes = released_axes(layer)
    with torch.no_grad():
        # Dcls2dK1d has no dense axis of size 1.
        released.weight.copy_(layer.weight.reshape(released.weight.shape))
        released.P.copy_(layer.positions[axes].reshape(released.P.shape))
        if layer.sigma is not None:
            released.SIG.copy_(layer.sigma[axes].reshape(released.P.shape))
        if layer.bias is not None:
            released.bias.copy_(layer.bias)
    return released


def released_gradients(layer, released):
    """The gradients of ``released`` under the names and axes of ``layer``."""
    # Every permutation in AXES is its own inverse.
    axes = released_axes(layer)
    gradients = {'weight': released.weight.grad, 'positions': released.P.grad[axes]}
    if layer.sigma is not None:
        gradients['sigma'] = released.SIG.grad[axes]
    if layer.bias is not None:
        gradients['bias'] = released.bias.grad
    return {
        name: gradient.reshape(getattr(layer, name).shape)
        for name, gradient in gradients.items()
    }
