"""Cells on disk: used again for the very same inputs, and for no others."""

import json
import os

import pytest

from mmdcls.robustness import Cell, CellStore, ImageFiles
from mmdcls.robustness.cells import list_cells

CELL = Cell('c', 'fog', 3)
KEY = dict(checkpoint='a', config='b', protocol='c')
RESULT = dict(top1=50.0, unreadable=[])


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    files = [folder / f'{i}.jpg' for i in range(3)]
    for i, path in enumerate(files):
        path.write_bytes(b'image %d' % i)
    return files


@pytest.fixture
def store(tmp_path, paths):
    store = CellStore(tmp_path / 'cells')
    assert store.load(CELL, KEY, ImageFiles(paths)) is None
    store.save(CELL, KEY, ImageFiles(paths), RESULT)
    return store


def test_saved_cell_is_found(store, paths):
    assert store.load(CELL, KEY, ImageFiles(reversed(paths))) == RESULT
    assert store.load(Cell('c', 'fog', 4), KEY, ImageFiles(paths)) is None
    files = [path for path in store.folder.rglob('*') if path.is_file()]
    assert files == [store.folder / 'c/fog/3.json']


@pytest.mark.parametrize('name', KEY)
def test_other_checkpoint_config_or_protocol(store, paths, name):
    assert store.load(CELL, {**KEY, name: 'other'}, ImageFiles(paths)) is None


def change(path):
    path.write_bytes(b'other 1')


def change_and_hide(path):
    """Same size, same modification time."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def rename(path):
    path.rename(path.with_name('new.jpg'))


@pytest.mark.parametrize('damage', [change, change_and_hide, rename, os.remove])
def test_other_images(store, paths, damage):
    damage(paths[1])
    found = list(paths[0].parent.iterdir())
    assert store.load(CELL, KEY, ImageFiles(found)) is None


def test_touched_images_are_the_same(store, paths):
    for path in paths:
        os.utime(path, (1, 1))
    assert store.load(CELL, KEY, ImageFiles(paths)) == RESULT


def test_moved_images_are_the_same(store, paths):
    moved = paths[0].parent.with_name('elsewhere')
    paths[0].parent.rename(moved)
    assert store.load(CELL, KEY, ImageFiles(moved.iterdir())) == RESULT


@pytest.mark.parametrize('text', ['', '{"key": {', '[]', 'null', '{}'])
def test_damaged_cell_is_computed_again(store, paths, text):
    store.path(CELL).write_text(text)
    assert store.load(CELL, KEY, ImageFiles(paths)) is None


def test_cell_of_another_format_is_computed_again(store, paths):
    kept = json.loads(store.path(CELL).read_text())
    kept['key']['format'] += 1
    store.path(CELL).write_text(json.dumps(kept))
    assert store.load(CELL, KEY, ImageFiles(paths)) is None


def test_cells_are_listed_in_the_order_of_the_report():
    cells = list_cells(['clean', 'c', 'a'], {'c': ['fog', 'snow']}, [1, 5])
    assert list(map(str, cells)) == [
        'clean',
        *('c/fog/1', 'c/fog/5', 'c/snow/1', 'c/snow/5'),
        'a',
    ]
