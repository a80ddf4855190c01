"""Tensors in, tensors out: the two operators of a DCLS layer. Imports torch only."""

from .depthwise import depthwise_conv2d
from .kernel import construct_kernel

__all__ = ['construct_kernel', 'depthwise_conv2d']
