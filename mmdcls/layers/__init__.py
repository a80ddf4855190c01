"""Convolution layers whose kernel elements have learnable positions."""

from .base import DCLSConvNd, iter_dcls_layers, named_dcls_layers
from .conv import (
    DCLSConv1d,
    DCLSConv2_1d,
    DCLSConv2d,
    DCLSConv3_1d,
    DCLSConv3_2d,
    DCLSConv3d,
)
from .input_channels import input_channels
from .limits import position_limits
from .together import can_build_together, construct_kernels

__all__ = [
    'DCLSConv1d',
    'DCLSConv2_1d',
    'DCLSConv2d',
    'DCLSConv3_1d',
    'DCLSConv3_2d',
    'DCLSConv3d',
    'DCLSConvNd',
    'can_build_together',
    'construct_kernels',
    'input_channels',
    'iter_dcls_layers',
    'named_dcls_layers',
    'position_limits',
]
