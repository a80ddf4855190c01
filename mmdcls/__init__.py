"""Convolutions with learnable spacings (DCLS) for OpenMMLab.

Importing the package costs no more than importing mmengine; the registries find
layers, models and hooks by themselves when a config names them (``mmdcls.X``).
"""

from .version import __version__

__all__ = ['__version__']
