"""Tensors in, tensors out: what the layers and models run on. Imports torch only."""

from .depthwise import depthwise_conv2d
from .kernel import construct_kernel
from .pointwise import linear_gelu_linear, scaled_residual

__all__ = [
    'construct_kernel',
    'depthwise_conv2d',
    'linear_gelu_linear',
    'scaled_residual',
]
