"""Convolutions with learnable spacings (DCLS) for OpenMMLab.

Importing the package costs no more than importing mmengine; the registries find
layers, models and hooks by themselves when a config names them (``mmdcls.X``).
"""

from .version import __version__

__all__ = ['__version__', 'convert_to_dcls']


def __getattr__(name):
    # Loaded when asked for: the operators need none of OpenMMLab's packages.
    if name == 'convert_to_dcls':
        from .models import convert_to_dcls

        return convert_to_dcls
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
