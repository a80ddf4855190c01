"""Convolutions with learnable spacings (DCLS) for OpenMMLab.

Importing the package imports nothing else. ``mmdcls.layers`` and ``mmdcls.ops`` need
PyTorch alone; the registries of OpenMMLab find layers, models and hooks by themselves
when a config names them (``mmdcls.X``).
"""

import sys

from .version import __version__

if sys.version_info < (3, 10):  # noqa: UP036, for clones on the path
    raise ImportError(
        f'This is Python {sys.version.split()[0]}, and mmdcls needs 3.10 or later.'
    )

__all__ = ['__version__', 'convert_to_dcls']


def __getattr__(name):
    # Loaded when asked for: the version needs no PyTorch.
    if name == 'convert_to_dcls':
        from .layers import convert_to_dcls

        return convert_to_dcls
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
