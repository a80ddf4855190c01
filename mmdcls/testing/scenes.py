"""Composes scenes: objects cut out of photographs, pasted onto pieces of others.

Images here are ``(height, width, 3)`` float32 RGB in [0, 1]; patches carry alpha as a
fourth channel, with the colours multiplied by it. All chance comes from ``rng``.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .photographs import load_backdrop, load_cutout

_SHADOW = 0.35
_JPEG_QUALITY = 82
_TRIALS = 20


@dataclass
class PlacedObject:
    """One object in a scene.

    Attributes:
        name: name of the cut-out.
        mask: ``(height, width)`` bool, the pixels where it is seen.
    """

    name: str
    mask: np.ndarray


def generator(seed: int, dataset: str, split: str, index: int) -> np.random.Generator:
    """Make the random generator of one image, independent of all other images'."""
    return np.random.default_rng([seed, *f'{dataset}/{split}'.encode(), index])


def crop_backdrop(
    rng: np.random.Generator, name: str, split: str, height: int, width: int
) -> np.ndarray:
    """Crop a backdrop at random: position, scale, flip and brightness vary.

    Args:
        rng: source of all chance.
        name: one of :data:`~.photographs.BACKDROPS`.
        split: ``'train'`` or ``'val'``.
        height: of the result, in pixels.
        width: of the result, in pixels.
    """
    piece = load_backdrop(name, split)
    largest = min(piece.shape[0] / height, piece.shape[1] / width)
    scale = rng.uniform(0.6, 1.0) * min(largest, 1.8)
    rows, columns = max(int(height * scale), 1), max(int(width * scale), 1)
    top = rng.integers(piece.shape[0] - rows + 1)
    left = rng.integers(piece.shape[1] - columns + 1)
    crop = piece[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    interpolation = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    crop = cv2.resize(crop, (width, height), interpolation=interpolation)
    return np.clip(crop * np.float32(rng.uniform(0.7, 1.05)), 0, 1)


def vary_patch(
    rng: np.random.Generator,
    patch: np.ndarray,
    length: float,
    rotation: float = 12.0,
    flip: bool = True,
) -> np.ndarray:
    """Bring a patch to a size and vary flip, rotation and brightness.

    Args:
        rng: source of all chance.
        patch: ``(h, w, 4)``.
        length: longer side of the upright result, in pixels.
        rotation: largest angle, in degrees to either side.
        flip: mirror half of the patches.
    """
    scale = length / max(patch.shape[:2])
    width = max(round(patch.shape[1] * scale), 2)
    height = max(round(patch.shape[0] * scale), 2)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    patch = cv2.resize(patch, (width, height), interpolation=interpolation)
    if flip and rng.random() < 0.5:
        patch = patch[:, ::-1]
    patch = _rotate(patch, rng.uniform(-rotation, rotation))
    colours = patch[..., :3] * np.float32(rng.uniform(0.75, 1.2))
    return np.dstack([np.minimum(colours, patch[..., 3:]), patch[..., 3]])


def _rotate(patch: np.ndarray, degrees: float) -> np.ndarray:
    height, width = patch.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    new_width = int(np.ceil(width * cosine + height * sine)) + 2
    new_height = int(np.ceil(height * cosine + width * sine)) + 2
    matrix[:, 2] += (new_width - width) / 2, (new_height - height) / 2
    rotated = cv2.warpAffine(
        np.ascontiguousarray(patch), matrix, (new_width, new_height)
    )
    rows, columns = np.nonzero(rotated[..., 3] > 0.05)
    return rotated[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def paste(image: np.ndarray, patch: np.ndarray, top: int, left: int) -> np.ndarray:
    """Blend a patch, with a light shadow, into the image in place.

    Args:
        image: changed in place.
        patch: may reach over the image's borders.
        top: row of the patch's first row, may be negative.
        left: column of the patch's first column, may be negative.

    Returns:
        ``(height, width)`` bool: where the patch covers at least half of a pixel.
    """
    height, width = image.shape[:2]
    layer = np.zeros((height, width, 4), np.float32)
    rows = slice(max(top, 0), min(top + patch.shape[0], height))
    columns = slice(max(left, 0), min(left + patch.shape[1], width))
    layer[rows, columns] = patch[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    alpha = layer[..., 3:]
    shadow: np.ndarray = np.zeros((height, width), np.float32)
    shadow[3:, 2:] = alpha[:-3, :-2, 0]
    shadow = cv2.GaussianBlur(shadow, (0, 0), 2.5)
    image *= 1 - _SHADOW * shadow[..., None]
    image *= 1 - alpha
    image += layer[..., :3]
    return alpha[..., 0] >= 0.5


def place_object(
    rng: np.random.Generator,
    image: np.ndarray,
    placed: list[PlacedObject],
    name: str,
    length: float,
    bottom: tuple[float, float] = (0.3, 1.0),
    largest_overlap: float = 0.25,
) -> bool:
    """Paste an object where it hides little of the objects pasted before it.

    Args:
        rng: source of all chance.
        image: changed in place.
        placed: the objects so far; the new one is appended, the others' masks lose
            what it hides.
        name: one of :data:`~.photographs.CUTOUTS`.
        length: longer side of the object, in pixels.
        bottom: range of the object's last row, as fractions of the image's height.
        largest_overlap: of the smaller of two objects.

    Returns:
        False where no free place was found; nothing is changed then.
    """
    patch = vary_patch(rng, load_cutout(name), length)
    height, width = image.shape[:2]
    for _ in range(_TRIALS):
        last_row = max(rng.uniform(*bottom) * height, min(patch.shape[0], height))
        top = round(last_row) - patch.shape[0]
        left = int(rng.integers(0, max(width - patch.shape[1], 0) + 1))
        mask = np.zeros((height, width), bool)
        region = mask[max(top, 0) : top + patch.shape[0], left : left + patch.shape[1]]
        covered = patch[max(-top, 0) :][: region.shape[0], : region.shape[1], 3]
        region[:] = covered >= 0.5
        overlaps = [
            (mask & other.mask).sum() / max(min(mask.sum(), other.mask.sum()), 1)
            for other in placed
        ]
        if max(overlaps, default=0.0) <= largest_overlap:
            break
    else:
        return False
    mask = paste(image, patch, top, left)
    for other in placed:
        other.mask &= ~mask
    placed.append(PlacedObject(name, mask))
    return True


def vary_light(
    rng: np.random.Generator, image: np.ndarray, colour: float = 0.08
) -> np.ndarray:
    """Vary brightness and colour balance of a whole image.

    Args:
        rng: source of all chance.
        image: not changed.
        colour: largest relative change of a colour channel.
    """
    gains = rng.uniform(0.85, 1.15) * (1 + rng.uniform(-colour, colour, 3))
    return np.clip(image * np.float32(gains), 0, 1)


def save_photograph(image: np.ndarray, path: Path) -> None:
    """Write an image as JPEG."""
    pixels = np.round(image * 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, format='JPEG', quality=_JPEG_QUALITY)
