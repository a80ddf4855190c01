"""The real photographs and scans that scikit-image and scikit-learn ship.

Only files inside the two packages are read: nothing is ever downloaded.
"""

from functools import cache
from importlib.resources import as_file, files

import cv2
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from mmdcls.errors import MissingPackageError

from .outlines import OUTLINES

CREDITS = {
    'astronaut.png': 'NASA, public domain',
    'brick.png': 'CC0Textures (Bricks25), CC0',
    'camera.png': 'Lav Varshney, CC0',
    'chelsea.png': 'Stefan van der Walt, CC0',
    'china.jpg': 'danielbuechele, flickr, CC BY 2.0',
    'coffee.png': 'Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0',
    'flower.jpg': 'vultilion, flickr, CC BY 2.0',
    'grass.png': 'linolafett (Grass 01), CC0',
    'gravel.png': 'CC0Textures (Gravel04), CC0',
    'horse.png': 'Andreas Preuss, openclipart, CC0',
    'motorcycle_left.png': 'N. Nesic et al., Middlebury 2014 stereo benchmark',
    'rocket.jpg': 'SpaceX, public domain',
    'digits': 'E. Alpaydin, UCI repository (Optical recognition of handwritten digits)',
}
"""Whose each photograph is, as scikit-image and scikit-learn state it."""

_SCIKIT_LEARN_PHOTOGRAPHS = ('china.jpg', 'flower.jpg')

# (photograph, (x0, y0, x1, y1) for training, the same for validation): pieces without
# any of the outlined objects, disjoint between the two splits.
_BACKDROPS = {
    'bricks': ('brick.png', (0, 0, 300, 512), (310, 0, 512, 512)),
    'grass': ('grass.png', (0, 0, 300, 512), (310, 0, 512, 512)),
    'gravel': ('gravel.png', (0, 0, 300, 512), (310, 0, 512, 512)),
    'day sky': ('china.jpg', (330, 0, 560, 130), (0, 0, 180, 90)),
    'dusk sky': ('rocket.jpg', (90, 0, 300, 110), (345, 0, 555, 110)),
    'wood': ('coffee.png', (480, 240, 600, 400), (485, 0, 600, 230)),
    'trees': ('china.jpg', (380, 325, 600, 427), (30, 345, 180, 427)),
    'leaves': ('flower.jpg', (0, 0, 150, 427), (470, 0, 640, 330)),
    'shelves': ('motorcycle_left.png', (530, 0, 741, 110), (330, 0, 490, 76)),
}
# The texture photographs are grey; these gains (red, green, blue) give them back the
# colours of what they show.
_TINTS = {
    'bricks': (1.25, 0.85, 0.72),
    'grass': (0.80, 1.05, 0.50),
    'gravel': (1.12, 0.96, 0.78),
}
BACKDROPS = tuple(_BACKDROPS)
"""Names that :func:`load_backdrop` knows."""

CUTOUTS = (*OUTLINES, 'horse')
"""Names that :func:`load_cutout` knows."""

# The scans come in the order in which the writers were recorded.
_TRAINING_SCANS = 1200


@cache
def load_photograph(name: str) -> np.ndarray:
    """Read one photograph out of the installed packages.

    Args:
        name: file name, a key of :data:`CREDITS` other than ``'digits'``.

    Returns:
        ``(height, width, 3)``, uint8, RGB. Shared between callers: not to be changed.

    Raises:
        MissingPackageError: the installed package does not ship the file.
    """
    if name in _SCIKIT_LEARN_PHOTOGRAPHS:
        package, source = 'scikit-learn', files('sklearn.datasets') / 'images' / name
    else:
        package, source = 'scikit-image', files('skimage') / 'data' / name
    if not source.is_file():
        raise MissingPackageError(
            f'the installed {package} does not ship the photograph {name!r}, expected '
            f'at {source}'
        )
    with as_file(source) as path, Image.open(path) as image:
        pixels = np.asarray(image.convert('RGB'))
    pixels.flags.writeable = False
    return pixels


@cache
def load_cutout(name: str) -> np.ndarray:
    """Cut one object out of its photograph.

    Args:
        name: one of :data:`CUTOUTS`.

    Returns:
        ``(height, width, 4)``, float32 in [0, 1]: RGB multiplied by alpha, and alpha,
        cropped to the object. Shared between callers: not to be changed.
    """
    if name == 'horse':
        pixels, alpha = _chestnut_horse()
    else:
        photograph, outline = OUTLINES[name]
        pixels = load_photograph(photograph)
        coverage = np.zeros(pixels.shape[:2], np.uint8)
        cv2.fillPoly(coverage, [np.array(outline)], 255, lineType=cv2.LINE_AA)
        alpha = coverage.astype(np.float32) / 255
    colours = pixels.astype(np.float32) / 255 * alpha[..., None]
    rows, columns = np.nonzero(alpha)
    cutout = np.dstack([colours, alpha])[
        rows.min() : rows.max() + 1, columns.min() : columns.max() + 1
    ]
    cutout.flags.writeable = False
    return cutout


def _chestnut_horse() -> tuple[np.ndarray, np.ndarray]:
    # The photographed horse is a silhouette: it gets the fur of the cat's forehead.
    silhouette = load_photograph('horse.png')
    alpha = 1 - silhouette[..., 0].astype(np.float32) / 255
    fur = load_photograph('chelsea.png')[0:75, 95:330]
    fur = np.vstack([fur, fur[::-1]])
    fur = np.hstack([fur, fur[:, ::-1]])
    fur = cv2.resize(fur, alpha.shape[::-1], interpolation=cv2.INTER_AREA)
    return (fur * np.array([0.85, 0.6, 0.45])).astype(np.uint8), alpha


@cache
def load_backdrop(name: str, split: str) -> np.ndarray:
    """Load a piece of a photograph to put behind objects.

    Args:
        name: one of :data:`BACKDROPS`.
        split: ``'train'`` or ``'val'``; the two pieces do not overlap.

    Returns:
        ``(height, width, 3)``, float32 RGB in [0, 1]. Shared between callers.
    """
    photograph, *boxes = _BACKDROPS[name]
    x0, y0, x1, y1 = boxes[('train', 'val').index(split)]
    piece = load_photograph(photograph)[y0:y1, x0:x1].astype(np.float32) / 255
    piece = np.clip(piece * np.array(_TINTS.get(name, (1, 1, 1)), np.float32), 0, 1)
    piece.flags.writeable = False
    return piece


@cache
def load_scanned_digits(split: str) -> np.ndarray:
    """Load scans of handwritten digits.

    Args:
        split: ``'train'`` (1200 scans) or ``'val'`` (the other 597).

    Returns:
        ``(count, 8, 8)``, float32 in [0, 1], ink is 1. Shared between callers.
    """
    scans = (load_digits().images / 16).astype(np.float32)
    train = split == 'train'
    scans = scans[:_TRAINING_SCANS] if train else scans[_TRAINING_SCANS:]
    scans.flags.writeable = False
    return scans
