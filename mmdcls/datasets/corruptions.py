"""The corruptions of ImageNet-C: their names, and one image corrupted at a time.

The functions are those of the package ``imagecorruptions-imaug`` (extra
``robustness``), a maintained port of the ones that ImageNet-C was made with.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from mmdcls.errors import ArgumentError, MissingPackageError

CORRUPTION_GROUPS = {
    'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise'),
    'blur': ('defocus_blur', 'glass_blur', 'motion_blur', 'zoom_blur'),
    'weather': ('snow', 'frost', 'fog', 'brightness'),
    'digital': ('contrast', 'elastic_transform', 'pixelate', 'jpeg_compression'),
}
"""ImageNet-C's benchmark: four groups, 15 corruptions (Hendrycks & Dietterich 2019)."""

CORRUPTIONS = tuple(name for group in CORRUPTION_GROUPS.values() for name in group)
EXTRA_CORRUPTIONS = ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
"""Published beside the 15 and part of no average."""

SEVERITIES = (1, 2, 3, 4, 5)
PACKAGE = 'imagecorruptions-imaug'

# The two that draw from a generator of their own instead of numpy's global one.
_OWN_GENERATOR = ('impulse_noise', 'glass_blur')
_SMALLEST_SIDE = 32


def check_corruption(corruption: str, severity: int) -> None:
    """Refuse names and severities that ImageNet-C does not have.

    Raises:
        ArgumentError: If it is not; the sentence names what is accepted.
    """
    known = CORRUPTIONS + EXTRA_CORRUPTIONS
    if corruption not in known:
        raise ArgumentError(
            f'corruption={corruption!r} must be one of {", ".join(known)}.'
        )
    if severity not in SEVERITIES:
        raise ArgumentError(f'severity={severity!r} must be one of 1, 2, 3, 4, 5.')


def corrupt_image(
    image: np.ndarray,
    corruption: str,
    severity: int,
    key: str,
    seed: int = 0,
    jpeg_quality: int | None = None,
) -> np.ndarray:
    """Corrupt an image; the same arguments give the same result in any process.

    Args:
        image: RGB, ``(height, width, 3)``, uint8, at least 32 pixels on each side.
        corruption: One of :data:`CORRUPTIONS` or :data:`EXTRA_CORRUPTIONS`.
        severity: 1 to 5.
        key: The image's name (say ``'n01440764/ILSVRC2012_val_00000293.JPEG'``), by
            which each has noise of its own.
        seed: Another seed gives other noise.
        jpeg_quality: The quality of the JPEG compression that follows, 85 for the files
            of ImageNet-C; None leaves it out.

    Returns:
        The corrupted image, in the shape and dtype of ``image``.

    Raises:
        ArgumentError: If an argument is not as described.
        MissingPackageError: If the package of the corruptions is not installed.
    """
    check_corruption(corruption, severity)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ArgumentError(
            f'image must be uint8 of shape (height, width, 3), got {image.dtype} of '
            f'shape {image.shape}.'
        )
    if min(image.shape[:2]) < _SMALLEST_SIDE:
        raise ArgumentError(
            f'the corruptions need images of {_SMALLEST_SIDE}x{_SMALLEST_SIDE} pixels '
            f'or more, and {key} has {image.shape[1]}x{image.shape[0]}.'
        )
    text = f'{seed}/{key}/{corruption}/{severity}'
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], 'big')
    options = dict(seed=number) if corruption in _OWN_GENERATOR else {}
    corrupt = load_corrupt_function()
    state = np.random.get_state()
    np.random.seed(number)
    try:
        result = corrupt(image, severity, corruption, **options)
    finally:
        np.random.set_state(state)
    return result if jpeg_quality is None else _compress(result, jpeg_quality)


def load_corrupt_function() -> Callable[..., np.ndarray]:
    """Import ``imagecorruptions.corrupt``.

    Raises:
        MissingPackageError: If the package is not installed; the sentence names the
            extra that brings it.
    """
    try:
        from imagecorruptions import corrupt
    except ImportError as error:
        raise MissingPackageError(
            f'Corruptions need the package {PACKAGE}: pip install mmdcls[robustness] '
            f'({error}).'
        ) from error
    return corrupt


def corruptions_version() -> str:
    """Return the name and version of the package on which the pixels depend."""
    load_corrupt_function()
    return f'{PACKAGE} {importlib.metadata.version(PACKAGE)}'


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    file = BytesIO()
    save_jpeg(image, file, quality)
    return np.asarray(Image.open(file))


def save_jpeg(image: np.ndarray, file, quality: int) -> None:
    """Write an RGB image as ImageNet-C's files are written."""
    Image.fromarray(image).save(file, 'JPEG', quality=quality, optimize=True)
