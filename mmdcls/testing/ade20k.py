"""Mini ADE20K: street-like scenes with a label for every pixel."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from . import scenes

FOLDER = 'ADEChallengeData2016'
DEFAULT_COUNTS = {'train': 160, 'val': 40}
SMALLEST_COUNT = 1

HEIGHT, WIDTH = 128, 160

LABELS = {
    'wall': 1,
    'building': 2,
    'sky': 3,
    'grass': 10,
    'person': 13,
    'earth': 14,
    'minibike': 117,
    'animal': 127,
}
"""The ADE20K classes that occur, with their values in the label images; 0 is ignore."""

# A cup has no class of its own among the 150: its pixels are 0, as in ADE20K.
_OBJECT_LABELS = {
    'tower': LABELS['building'],
    'astronaut': LABELS['person'],
    'photographer': LABELS['person'],
    'motorcycle': LABELS['minibike'],
    'cat': LABELS['animal'],
    'horse': LABELS['animal'],
    'cup': 0,
}
_FOLDERS = {'train': 'training', 'val': 'validation'}


def compose(rng: np.random.Generator, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Compose one scene and its labels.

    Args:
        rng: source of all chance.
        split: ``'train'`` or ``'val'``: which pieces of the photographs are used.

    Returns:
        The image ``(128, 160, 3)``, float32 RGB in [0, 1], and the labels
        ``(128, 160)``, uint8.
    """
    horizon = rng.uniform(0.35, 0.6)
    image, labels = _background(rng, split, horizon)
    placed: list[scenes.PlacedObject] = []
    if labels[0, 0] == LABELS['sky'] and rng.random() < 0.6:
        foot = (horizon + 0.02, horizon + 0.15)
        scenes.place_object(rng, image, placed, 'tower', rng.uniform(50, 80), foot)
    for group in rng.permutation(3)[: rng.integers(1, 4)]:
        name = rng.choice(
            [('astronaut', 'photographer'), ('cat', 'horse'), ('motorcycle',) * 2][
                group
            ]
        )
        length = rng.uniform(42, 80)
        scenes.place_object(
            rng, image, placed, str(name), length, (horizon + 0.15, 1.0)
        )
    if rng.random() < 0.2:
        scenes.place_object(
            rng, image, placed, 'cup', rng.uniform(20, 32), (horizon + 0.15, 1.0)
        )
    for placed_object in placed:
        labels[placed_object.mask] = _OBJECT_LABELS[placed_object.name]
    return scenes.vary_light(rng, image), labels


def _background(
    rng: np.random.Generator, split: str, horizon: float
) -> tuple[np.ndarray, np.ndarray]:
    above, above_label = [
        ('day sky', 'sky'),
        ('dusk sky', 'sky'),
        ('bricks', 'wall'),
    ][rng.choice(3, p=[0.4, 0.2, 0.4])]
    below, below_label = [('grass', 'grass'), ('gravel', 'earth')][rng.integers(2)]
    columns = np.arange(WIDTH) / WIDTH
    hills = 0.0 if above_label == 'wall' else 0.04
    skyline = HEIGHT * (
        horizon
        + rng.uniform(-0.08, 0.08) * (columns - 0.5)
        + hills * np.sin(2 * np.pi * (columns * rng.uniform(0.5, 1.5) + rng.random()))
    )
    # Pixels that the skyline crosses are a blend of both sides.
    share = np.clip(np.arange(HEIGHT)[:, None] + 0.5 - skyline, 0, 1)[..., None]
    upper = scenes.crop_backdrop(rng, above, split, HEIGHT, WIDTH)
    lower = scenes.crop_backdrop(rng, below, split, HEIGHT, WIDTH)
    image = (upper * (1 - share) + lower * share).astype(np.float32)
    labels = np.where(share[..., 0] < 0.5, LABELS[above_label], LABELS[below_label])
    return image, labels.astype(np.uint8)


def write(
    folder: Path, seed: int, counts: dict[str, int], advance: Callable[[], None]
) -> None:
    """Write the data set in ADE20K's folder layout.

    Args:
        folder: an empty folder.
        seed: of every image.
        counts: images of each split.
        advance: called after every image.
    """
    for split, count in counts.items():
        images = folder / 'images' / _FOLDERS[split]
        annotations = folder / 'annotations' / _FOLDERS[split]
        images.mkdir(parents=True)
        annotations.mkdir(parents=True)
        for index in range(count):
            rng = scenes.generator(seed, 'ade20k', split, index)
            image, labels = compose(rng, split)
            stem = f'ADE_{split}_{index + 1:08d}'
            scenes.save_photograph(image, images / f'{stem}.jpg')
            Image.fromarray(labels).save(annotations / f'{stem}.png', optimize=True)
            advance()
