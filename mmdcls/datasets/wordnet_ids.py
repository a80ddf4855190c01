"""The classes of ImageNet-1k, ImageNet-A and ImageNet-R, as timm ships them."""

from __future__ import annotations

import functools
import importlib.resources

from mmdcls.errors import MissingPackageError


@functools.cache
def read_wordnet_ids(name: str = 'imagenet') -> tuple[str, ...]:
    """Read a list of WordNet ids, in the order of a 1000-class model's outputs.

    Args:
        name: ``'imagenet'`` (1000 classes), ``'imagenet_a'`` or ``'imagenet_r'`` (200).

    Raises:
        MissingPackageError: If timm is not installed.
    """
    try:
        folder = importlib.resources.files('timm.data') / '_info'
    except ImportError as error:
        raise MissingPackageError(
            'The class lists of ImageNet need the package timm: pip install '
            f'mmdcls[robustness] ({error}).'
        ) from error
    return tuple((folder / f'{name}_synsets.txt').read_text().split())
