"""Mini ImageNet: one object an image, ten classes, in ImageNet's folder layout."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from . import scenes
from .photographs import BACKDROPS, load_backdrop, load_cutout, load_scanned_digits

FOLDER = 'imagenet'
DEFAULT_COUNTS = {'train': 800, 'val': 200}

SIZE = 96

CLASSES = {
    'n02123045': 'tabby',
    'n02389026': 'sorrel',
    'n02980441': 'castle',
    'n03196217': 'digital clock',
    'n03773504': 'missile',
    'n03791053': 'motor scooter',
    'n03841143': 'odometer',
    'n04266014': 'space shuttle',
    'n07920052': 'espresso',
    'n11939491': 'daisy',
}
"""WordNet id to name of the ImageNet-1k class that a kind of object comes closest to.

n02980441 and n03196217 are in ImageNet-A; n02123045, n02980441, n03773504, n04266014
and n07920052 in ImageNet-R.
"""
SMALLEST_COUNT = len(CLASSES)

_OBJECTS = {
    'n02123045': 'cat',
    'n02389026': 'horse',
    'n02980441': 'tower',
    'n03773504': 'rocket',
    'n03791053': 'motorcycle',
    'n04266014': 'shuttle',
    'n07920052': 'cup',
    'n11939491': 'flower',
}
_DIGIT_SIZE = 32


def compose(rng: np.random.Generator, split: str, wnid: str) -> np.ndarray:
    """Compose one image.

    Position, size, flip, rotation, light and colour balance vary, the backdrop is
    independent of the class, and a tenth of the images is grey, so that the class
    cannot be read off the mean colour.

    Args:
        rng: source of all chance.
        split: ``'train'`` or ``'val'``: which pieces of the photographs and which
            scans are used.
        wnid: a key of :data:`CLASSES`.

    Returns:
        ``(96, 96, 3)``, float32 RGB in [0, 1].
    """
    image = scenes.crop_backdrop(rng, str(rng.choice(BACKDROPS)), split, SIZE, SIZE)
    if wnid in _OBJECTS:
        patch = load_cutout(_OBJECTS[wnid])
    else:
        patch = _counter(rng, split, clock=CLASSES[wnid] == 'digital clock')
    # A mirrored number would be no number.
    patch = scenes.vary_patch(
        rng, patch, rng.uniform(60, 94), rotation=15, flip=wnid in _OBJECTS
    )
    top, left = (
        int(rng.integers(min(0, SIZE - extent), max(0, SIZE - extent) + 1))
        for extent in patch.shape[:2]
    )
    scenes.paste(image, patch, top, left)
    image = scenes.vary_light(rng, image, colour=0.15)
    if rng.random() < 0.1:
        image = np.repeat(image.mean(2, keepdims=True), 3, axis=2)
    return image


def _counter(rng: np.random.Generator, split: str, clock: bool) -> np.ndarray:
    """Make a panel of scanned digits: a clock (hh:mm) or an odometer (six windows)."""
    scans = load_scanned_digits(split)
    digits = [
        cv2.resize(scans[i], (_DIGIT_SIZE,) * 2, interpolation=cv2.INTER_CUBIC)
        for i in rng.integers(len(scans), size=4 if clock else 6)
    ]
    height = _DIGIT_SIZE + 16
    margin = np.zeros((height, 6), np.float32)
    cells = [np.pad(np.clip(digit, 0, 1), ((8, 8), (2, 2))) for digit in digits]
    if clock:
        colon = np.zeros((height, 8), np.float32)
        colon[16:20, 2:6] = colon[28:32, 2:6] = 1
        ink = np.hstack([margin, *cells[:2], colon, *cells[2:], margin])
        window = np.zeros_like(ink)
    else:
        ink = np.hstack([margin, *cells, margin])
        pane = np.zeros_like(cells[0])
        pane[4:-4, 2:-2] = 1
        window = np.hstack([margin, *[pane] * len(cells), margin])
    return _colour_panel(rng, split, ink[..., None], window[..., None])


def _colour_panel(
    rng: np.random.Generator, split: str, ink: np.ndarray, window: np.ndarray
) -> np.ndarray:
    surface = load_backdrop(str(rng.choice(BACKDROPS)), split)
    surface = cv2.resize(surface, ink.shape[1::-1], interpolation=cv2.INTER_AREA)
    dark = surface * 0.25
    light = 1 - 0.3 * (1 - surface)
    if rng.random() < 0.5:
        dark, light = light, dark
    panel = dark * (1 - 0.6 * window) + 0.6 * window * dark.mean() * rng.uniform(0.3, 1)
    panel = panel * (1 - ink) + light * ink
    return np.dstack([panel, np.ones_like(ink)]).astype(np.float32)


def write(
    folder: Path, seed: int, counts: dict[str, int], advance: Callable[[], None]
) -> None:
    """Write the data set in ImageNet's layout, images dealt to the classes in turn.

    Args:
        folder: an empty folder.
        seed: of every image.
        counts: images of each split, all classes together.
        advance: called after every image.
    """
    for split, count in counts.items():
        for wnid in CLASSES:
            (folder / split / wnid).mkdir(parents=True)
        for index in range(count):
            wnid = list(CLASSES)[index % len(CLASSES)]
            rng = scenes.generator(seed, 'imagenet', split, index)
            stem = {
                'train': f'{wnid}_{index + 1}',
                'val': f'ILSVRC2012_val_{index + 1:08d}',
            }[split]
            path = folder / split / wnid / f'{stem}.JPEG'
            scenes.save_photograph(compose(rng, split, wnid), path)
            advance()
