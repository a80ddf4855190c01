"""Annotation files in COCO's format that lack something, or are none."""

import math
import os
from pathlib import Path

from bad_inputs.cases import Case
from bad_inputs.materials import write_detection

_BASE = "_base_ = '{m}/det.py'\n"
TOOLS = {
    'train.py': '{{m}}/det.py --work-dir {{out}} --data-root {{m}}/coco/{kind}',
    'check_dataset.py': '{{m}}/det.py --splits train --workers 1 '
    '--data-root {{m}}/coco/{kind}',
}


def _without(kind, key):
    def change(content):
        for part in content[kind]:
            del part[key]

    return change


def _with(kind, key, value):
    def change(content):
        content[kind][0][key] = value

    return change


CHANGES = {
    **{f'image without {key}': (_without('images', key), f"no '{key}'")
       for key in ('id', 'file_name', 'width', 'height')},
    **{f'annotation without {key}': (_without('annotations', key), f"no '{key}'")
       for key in ('id', 'image_id', 'category_id', 'bbox', 'area', 'segmentation')},
    'category without id': (_without('categories', 'id'), "KeyError: 'id'"),
    'category without name': (_without('categories', 'name'), "KeyError: 'name'"),
    'no images': (lambda content: content.pop('images'), "KeyError: 'images'"),
    'no categories': (lambda c: c.pop('categories'), "KeyError: 'categories'"),
    'images are no list': (lambda c: c.update(images=3), 'images'),
    'images are texts': (lambda c: c.update(images=['a']), 'list of dictionaries'),
    'width is a text': (_with('images', 'width', '64'), "has width='64', where"),
    'width is negative': (_with('images', 'width', -64), 'has width=-64, where'),
    'file_name is a number': (_with('images', 'file_name', 5), 'has file_name=5, '),
    'file_name is empty': (_with('images', 'file_name', ''), "has file_name='', where"),
    'id is a list': (_with('images', 'id', [1]), 'has id=[1], where'),
    'box of three': (_with('annotations', 'bbox', [1, 2, 3]), 'has bbox=[1, 2, 3], '),
    'box of texts': (_with('annotations', 'bbox', list('abcd')), 'has bbox='),
    'box with NaN': (_with('annotations', 'bbox', [1, 2, math.nan, 3]), 'has bbox='),
    'area is a text': (_with('annotations', 'area', 'big'), "has area='big', where"),
    'category_id is a list': (_with('annotations', 'category_id', [1]), '_id=['),
}  # fmt: skip
RAW = {
    'broken JSON': ('{"images": [', 'is no annotation file in COCO format'),
    'empty': ('', 'is no annotation file in COCO format'),
    'a list': ('[]', 'is no annotation file in COCO format'),
    'null': ('null', 'is no annotation file in COCO format'),
    'Latin-1': (b'{"images": "f\xe9e"}', 'is no annotation file in COCO format'),
    'deep': ('[' * 100_000, 'is no annotation file in COCO format'),
    'a pipe': (None, 'annotations.json'),
}
_ONLY_CHECKED = [
    ('image is missing', lambda content: content['images'][0].update(file_name='b.jpg'),
     'b.jpg: does not exist'),
    ('unknown category', _with('annotations', 'category_id', 999), 'category_id=999'),
    ('unknown image', _with('annotations', 'image_id', 999), 'image_id=999'),
    ('another size', _with('images', 'width', 65), 'annotation says 65x48'),
]  # fmt: skip


def _folder(kind: str) -> str:
    return kind.replace(' ', '-')


def write(materials: Path) -> None:
    """Write a data set for every change."""
    for kind, (change, _) in CHANGES.items():
        write_detection(materials / 'coco' / _folder(kind), change)
    for kind, change, _ in _ONLY_CHECKED:
        write_detection(materials / 'coco' / _folder(kind), change)
    for kind, (content, _) in RAW.items():
        folder = materials / 'coco' / _folder(kind)
        write_detection(folder)
        path = folder / 'annotations.json'
        path.unlink()
        if content is None:
            os.mkfifo(path)
        else:
            path.write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )


def rows() -> list[Case]:
    told = [(kind, sentence) for kind, (_, sentence) in (CHANGES | RAW).items()]
    cases = [
        Case(kind, tool, arguments.format(kind=_folder(kind)), sentence)
        for kind, sentence in told
        for tool, arguments in TOOLS.items()
    ]
    return cases + [
        Case(kind, 'check_dataset.py',
             TOOLS['check_dataset.py'].format(kind=_folder(kind)), sentence)
        for kind, _, sentence in _ONLY_CHECKED
    ]  # fmt: skip
