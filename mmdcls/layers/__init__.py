"""Convolution layers whose kernel elements have learnable positions."""

from .arguments import position_limits
from .base import DCLSConvNd, iter_dcls_layers, named_dcls_layers
from .conv import (
    DCLSConv1d,
    DCLSConv2_1d,
    DCLSConv2d,
    DCLSConv3_1d,
    DCLSConv3_2d,
    DCLSConv3d,
)
from .convert import convert_to_dcls, convert_to_plain
from .input_channels import input_channels
from .repulsive_loss import repulsive_loss
from .together import can_build_together, construct_kernels
from .training import clamp_positions, keep_position_rates, position_param_groups

LAYERS = (
    DCLSConv1d,
    DCLSConv2d,
    DCLSConv3d,
    DCLSConv2_1d,
    DCLSConv3_1d,
    DCLSConv3_2d,
)
"""All layers that a model is made of."""

__all__ = [
    'LAYERS',
    'DCLSConv1d',
    'DCLSConv2_1d',
    'DCLSConv2d',
    'DCLSConv3_1d',
    'DCLSConv3_2d',
    'DCLSConv3d',
    'DCLSConvNd',
    'can_build_together',
    'clamp_positions',
    'construct_kernels',
    'convert_to_dcls',
    'convert_to_plain',
    'input_channels',
    'iter_dcls_layers',
    'keep_position_rates',
    'named_dcls_layers',
    'position_limits',
    'position_param_groups',
    'repulsive_loss',
]
