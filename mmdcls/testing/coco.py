"""Mini COCO: objects on backdrops, with boxes and masks in COCO's JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from . import scenes
from .photographs import BACKDROPS, CREDITS

FOLDER = 'coco'
DEFAULT_COUNTS = {'train': 160, 'val': 40}
SMALLEST_COUNT = 2
"""One image with a crowd and one without objects."""

# COCO numbers 91 names and annotates 80 of them: some numbers are not used.
_CATEGORY_TABLE = """
person: 1 person
vehicle: 2 bicycle, 3 car, 4 motorcycle, 5 airplane, 6 bus, 7 train, 8 truck, 9 boat
outdoor: 10 traffic light, 11 fire hydrant, 13 stop sign, 14 parking meter, 15 bench
animal: 16 bird, 17 cat, 18 dog, 19 horse, 20 sheep, 21 cow, 22 elephant, 23 bear
animal: 24 zebra, 25 giraffe
accessory: 27 backpack, 28 umbrella, 31 handbag, 32 tie, 33 suitcase
sports: 34 frisbee, 35 skis, 36 snowboard, 37 sports ball, 38 kite, 39 baseball bat
sports: 40 baseball glove, 41 skateboard, 42 surfboard, 43 tennis racket
kitchen: 44 bottle, 46 wine glass, 47 cup, 48 fork, 49 knife, 50 spoon, 51 bowl
food: 52 banana, 53 apple, 54 sandwich, 55 orange, 56 broccoli, 57 carrot, 58 hot dog
food: 59 pizza, 60 donut, 61 cake
furniture: 62 chair, 63 couch, 64 potted plant, 65 bed, 67 dining table, 70 toilet
electronic: 72 tv, 73 laptop, 74 mouse, 75 remote, 76 keyboard, 77 cell phone
appliance: 78 microwave, 79 oven, 80 toaster, 81 sink, 82 refrigerator
indoor: 84 book, 85 clock, 86 vase, 87 scissors, 88 teddy bear, 89 hair drier
indoor: 90 toothbrush
"""


def _list_categories() -> list[dict]:
    categories = []
    for line in _CATEGORY_TABLE.strip().splitlines():
        supercategory, entries = line.split(': ')
        for entry in entries.split(', '):
            number, name = entry.split(' ', 1)
            categories.append(
                {'supercategory': supercategory, 'id': int(number), 'name': name}
            )
    return categories


CATEGORIES = _list_categories()
"""The 80 categories as COCO 2017 lists them."""

_CATEGORY_IDS = {category['name']: category['id'] for category in CATEGORIES}
_OBJECT_CATEGORIES = {
    'astronaut': 'person',
    'photographer': 'person',
    'motorcycle': 'motorcycle',
    'cat': 'cat',
    'horse': 'horse',
    'cup': 'cup',
}
_GROUPS = [
    ('astronaut', 'photographer'),
    ('motorcycle',),
    ('cat',),
    ('horse',),
    ('cup',),
]
# Every 16th image shows a crowd, the one after it no object.
_PERIOD = 16
_LICENSES = [
    {
        'id': 1,
        'name': 'composed of photographs with these credits: '
        + '; '.join(f'{name}: {credit}' for name, credit in CREDITS.items()),
        'url': '',
    }
]


def compose(
    rng: np.random.Generator, split: str, kind: str = 'objects'
) -> tuple[np.ndarray, list[scenes.PlacedObject], np.ndarray | None]:
    """Compose one scene.

    Args:
        rng: source of all chance.
        split: ``'train'`` or ``'val'``: which pieces of the photographs are used.
        kind: ``'objects'``, ``'crowd'`` (a crowd of persons as well) or ``'empty'``.

    Returns:
        The image, 128x160 or 160x128 pixels, float32 RGB in [0, 1]; the objects; the
        mask of the crowd, None without one.
    """
    height, width = (128, 160) if rng.random() < 0.75 else (160, 128)
    backdrop = str(rng.choice(BACKDROPS))
    image = scenes.crop_backdrop(rng, backdrop, split, height, width)
    crowd = _place_crowd(rng, image) if kind == 'crowd' else None
    placed: list[scenes.PlacedObject] = []
    if kind == 'empty':
        scenes.place_object(rng, image, [], 'flower', rng.uniform(30, 70))
        return scenes.vary_light(rng, image), placed, crowd
    count = int(rng.integers(1, 4)) if kind == 'objects' else 1
    for group in rng.permutation(len(_GROUPS))[:count]:
        name = str(rng.choice(_GROUPS[group]))
        smallest, largest = (24, 56) if name == 'cup' else (40, 96)
        scenes.place_object(rng, image, placed, name, rng.uniform(smallest, largest))
    if crowd is not None:
        for placed_object in placed:
            crowd &= ~placed_object.mask
    return scenes.vary_light(rng, image), placed, crowd


def _place_crowd(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    members: list[scenes.PlacedObject] = []
    for _ in range(12):
        name = str(rng.choice(_GROUPS[0]))
        length = rng.uniform(24, 34)
        scenes.place_object(rng, image, members, name, length, (0.25, 0.45), 0.5)
    return np.logical_or.reduce([member.mask for member in members])


def mask_to_polygons(mask: np.ndarray) -> list[list[float]]:
    """Outline a mask in COCO's polygon format.

    Args:
        mask: ``(height, width)`` bool.

    Returns:
        For every connected part ``[x0, y0, x1, y1, ...]`` in pixels, where pixel
        (0, 0) covers [0, 1] x [0, 1]. Holes are not kept.
    """
    # Contours pass through pixel centres: tracing an enlarged mask brings them within
    # an eighth of a pixel of the real border.
    enlargement = 4
    pixel = np.ones((enlargement,) * 2, np.uint8)
    enlarged: np.ndarray = np.kron(mask.astype(np.uint8), pixel)
    contours, _ = cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for contour in contours:
        contour = cv2.approxPolyDP(contour, 1.5, True)[:, 0]
        if len(contour) >= 3:
            points = (contour + 0.5) / enlargement
            polygons.append([round(float(value), 2) for value in points.ravel()])
    return polygons


def mask_to_rle(mask: np.ndarray) -> dict:
    """Encode a mask as COCO's uncompressed run lengths, as crowds have them.

    Args:
        mask: ``(height, width)`` bool.
    """
    values = mask.ravel(order='F').astype(np.int8)
    borders = np.flatnonzero(np.diff(values, prepend=0)).tolist()
    counts = np.diff([0, *borders, values.size]).tolist()
    return {'counts': counts, 'size': list(mask.shape)}


def _annotate(
    mask: np.ndarray, category: str, image_id: int, identifier: int, crowd: bool
) -> dict | None:
    height, width = mask.shape
    segmentation = mask_to_rle(mask) if crowd else mask_to_polygons(mask)
    if not segmentation:
        return None
    encoded = coco_mask.frPyObjects(segmentation, height, width)
    if not crowd:
        encoded = coco_mask.merge(encoded)
    return {
        'segmentation': segmentation,
        'area': float(coco_mask.area(encoded)),
        'iscrowd': int(crowd),
        'image_id': image_id,
        'bbox': [float(value) for value in coco_mask.toBbox(encoded)],
        'category_id': _CATEGORY_IDS[category],
        'id': identifier,
    }


def write(
    folder: Path, seed: int, counts: dict[str, int], advance: Callable[[], None]
) -> None:
    """Write the data set in COCO 2017's folder layout.

    Args:
        folder: an empty folder.
        seed: of every image.
        counts: images of each split.
        advance: called after every image.
    """
    (folder / 'annotations').mkdir()
    first_image = 1
    first_annotation = 1
    for split, count in counts.items():
        content = _write_split(
            folder, seed, split, count, first_image, first_annotation, advance
        )
        first_image += count
        first_annotation += len(content['annotations'])
        path = folder / 'annotations' / f'instances_{split}2017.json'
        path.write_text(json.dumps(content))


def _write_split(
    folder: Path,
    seed: int,
    split: str,
    count: int,
    first_image: int,
    first_annotation: int,
    advance: Callable[[], None],
) -> dict:
    (folder / f'{split}2017').mkdir()
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(count):
        kind = {0: 'crowd', 1: 'empty'}.get(index % _PERIOD, 'objects')
        rng = scenes.generator(seed, 'coco', split, index)
        image, placed, crowd = compose(rng, split, kind)
        image_id = first_image + index
        name = f'{image_id:012d}.jpg'
        scenes.save_photograph(image, folder / f'{split}2017' / name)
        height, width = image.shape[:2]
        images.append(
            {
                'license': 1,
                'file_name': name,
                'height': height,
                'width': width,
                'id': image_id,
            }
        )
        masks = [(p.mask, _OBJECT_CATEGORIES[p.name], False) for p in placed]
        if crowd is not None:
            masks.append((crowd, 'person', True))
        for mask, category, is_crowd in masks:
            identifier = first_annotation + len(annotations)
            annotation = _annotate(mask, category, image_id, identifier, is_crowd)
            if annotation is not None:
                annotations.append(annotation)
        advance()
    return {
        'info': {'description': 'mini COCO', 'version': '1.0'},
        'licenses': _LICENSES,
        'images': images,
        'annotations': annotations,
        'categories': CATEGORIES,
    }
