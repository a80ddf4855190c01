"""The mini data sets: formats as upstream reads them, determinism, bad input."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from sklearn.linear_model import LogisticRegression

from mmdcls.errors import MissingPackageError
from mmdcls.testing import ade20k, coco, imagenet, make_mini, photographs, scenes
from mmdcls.testing.make import MiniDataError

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'make_mini.py'
ADE_FOLDERS = {'train': 'training', 'val': 'validation'}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """All three data sets, smaller than by default."""
    out_dir = tmp_path_factory.mktemp('mini')
    make_mini(out_dir, ['ade20k', 'coco'], train=40, val=20)
    make_mini(out_dir, ['imagenet'], train=200, val=100)
    return out_dir


def hash_files(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def build(scope, **config):
    """Build an upstream data set with the upstream transforms of its scope."""
    __import__(f'{scope}.utils').utils.register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope(scope):
        return DATASETS.build(config)


# ----------------------------------------------------------------------- photographs


def test_photographs_come_from_the_packages_without_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('a photograph was asked for over the network')

    monkeypatch.setattr(socket, 'socket', refuse)
    photographs.load_photograph.cache_clear()
    for name in photographs.CREDITS:
        if name != 'digits':
            assert photographs.load_photograph(name).ndim == 3


def test_photograph_that_is_not_shipped():
    with pytest.raises(MissingPackageError, match="scikit-image.*'eagle.png'"):
        photographs.load_photograph('eagle.png')


@pytest.mark.parametrize('name', photographs.CUTOUTS)
def test_cutout(name):
    cutout = photographs.load_cutout(name)
    colours, alpha = cutout[..., :3], cutout[..., 3]
    assert cutout.dtype == np.float32
    assert (colours <= alpha[..., None] + 1e-6).all()
    assert 0.3 < alpha.mean() < 0.95
    assert all(edge.max() > 0 for edge in (alpha[0], alpha[-1], alpha[:, 0]))


@pytest.mark.parametrize('name', photographs.BACKDROPS)
def test_backdrops_of_the_splits_do_not_overlap(name):
    _, train, val = photographs._BACKDROPS[name]
    apart_in_x = train[2] <= val[0] or val[2] <= train[0]
    apart_in_y = train[3] <= val[1] or val[3] <= train[1]
    assert apart_in_x or apart_in_y


# ---------------------------------------------------------------------------- scenes


def test_paste_blends_and_clips_at_the_border():
    image = np.full((8, 10, 3), 0.5, np.float32)
    patch = np.ones((4, 4, 4), np.float32)
    patch[..., 1:3] = 0
    mask = scenes.paste(image, patch, -2, 8)
    assert mask.sum() == 4
    assert mask[:2, 8:].all()
    assert np.allclose(image[mask], [1, 0, 0])
    assert image.max() <= 1
    assert image[6, 1] == pytest.approx(0.5, abs=1e-3)


def test_later_objects_hide_earlier_ones():
    rng = np.random.default_rng(0)
    image = np.full((96, 96, 3), 0.5, np.float32)
    placed = []
    for _ in range(4):
        scenes.place_object(rng, image, placed, 'cup', 40, largest_overlap=0.4)
    assert len(placed) > 1
    assert np.sum([p.mask for p in placed], axis=0).max() == 1


def test_no_free_place_leaves_the_image_alone():
    rng = np.random.default_rng(0)
    image = np.zeros((40, 40, 3), np.float32)
    placed = [scenes.PlacedObject('cup', np.ones((40, 40), bool))]
    assert not scenes.place_object(rng, image, placed, 'cat', 30)
    assert not image.any()
    assert len(placed) == 1


# --------------------------------------------------------------------------- ADE20K


def test_ade20k_labels_are_those_of_mmseg():
    from mmseg.datasets import ADE20KDataset

    classes = ADE20KDataset.METAINFO['classes']
    assert {classes[label - 1] for label in ade20k.LABELS.values()} == set(
        ade20k.LABELS
    )


@pytest.mark.parametrize(('split', 'count'), [('train', 40), ('val', 20)])
def test_ade20k_loads_in_mmseg(data, split, count):
    folder = ADE_FOLDERS[split]
    dataset = build(
        'mmseg',
        type='ADE20KDataset',
        data_root=str(data / 'ADEChallengeData2016'),
        data_prefix={
            'img_path': f'images/{folder}',
            'seg_map_path': f'annotations/{folder}',
        },
        pipeline=[
            {'type': 'LoadImageFromFile'},
            {'type': 'LoadAnnotations', 'reduce_zero_label': True},
            {'type': 'PackSegInputs'},
        ],
    )
    assert len(dataset) == count
    pixels = np.zeros(256, int)
    for sample in dataset:
        labels = sample['data_samples'].gt_sem_seg.data.numpy()
        assert labels.shape[1:] == tuple(sample['inputs'].shape[1:]) == (128, 160)
        pixels += np.bincount(labels.ravel(), minlength=256)
    seen = {label - 1 for label in ade20k.LABELS.values()}
    assert set(np.flatnonzero(pixels)) == seen | {255}
    assert (pixels[sorted(seen)] > 0.01 * pixels.sum()).all()


def test_ade20k_label_images_are_plain_uint8(data):
    for path in (data / 'ADEChallengeData2016' / 'annotations').rglob('*.png'):
        with Image.open(path) as image:
            assert image.mode == 'L'


# ----------------------------------------------------------------------------- COCO


def load_coco(data, split):
    return COCO(data / 'coco' / 'annotations' / f'instances_{split}2017.json')


def test_coco_categories_are_those_of_mmdet():
    from mmdet.datasets import CocoDataset

    names = tuple(category['name'] for category in coco.CATEGORIES)
    numbers = [category['id'] for category in coco.CATEGORIES]
    skipped = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert names == CocoDataset.METAINFO['classes']
    assert numbers == sorted(set(range(1, 91)) - skipped)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_coco_areas_and_boxes_are_those_of_the_masks(data, split):
    annotations = load_coco(data, split)
    kinds = {'polygons': 0, 'crowd': 0}
    for annotation in annotations.anns.values():
        encoded = annotations.annToRLE(annotation)
        assert annotation['area'] == coco_mask.area(encoded) > 0
        assert annotation['bbox'] == coco_mask.toBbox(encoded).tolist()
        is_crowd = annotation['iscrowd'] == 1
        assert isinstance(annotation['segmentation'], dict if is_crowd else list)
        kinds['crowd' if is_crowd else 'polygons'] += 1
    without_objects = [i for i in annotations.imgs if not annotations.imgToAnns[i]]
    assert kinds['crowd'] >= 1
    assert kinds['polygons'] >= len(annotations.imgs)
    assert without_objects
    found = {
        annotations.cats[a['category_id']]['name'] for a in annotations.anns.values()
    }
    assert found == {'person', 'motorcycle', 'cat', 'horse', 'cup'}


def test_coco_ids_are_unique_over_both_splits(data):
    train, val = (load_coco(data, split) for split in ('train', 'val'))
    assert not set(train.imgs) & set(val.imgs)
    assert not set(train.anns) & set(val.anns)


@pytest.mark.parametrize('index', range(0, 24, 3))
def test_coco_polygons_cover_the_objects(index):
    rng = np.random.default_rng(index)
    image, placed, _ = coco.compose(rng, 'train')
    assert placed
    for item in placed:
        polygons = coco.mask_to_polygons(item.mask)
        rle = coco_mask.merge(coco_mask.frPyObjects(polygons, *image.shape[:2]))
        outlined = coco_mask.decode(rle).astype(bool)
        union = (item.mask | outlined).sum()
        assert (item.mask & outlined).sum() / union > 0.9


@pytest.mark.parametrize('shape', [(1, 1), (5, 3), (4, 7)])
@pytest.mark.parametrize('density', [0.0, 0.4, 1.0])
def test_coco_run_lengths_round_trip(shape, density):
    mask = np.random.default_rng(1).random(shape) < density
    rle = coco_mask.frPyObjects(coco.mask_to_rle(mask), *shape)
    assert (coco_mask.decode(rle) == mask).all()


def test_coco_loads_in_mmdet(data):
    config = {
        'type': 'CocoDataset',
        'data_root': str(data / 'coco'),
        'ann_file': 'annotations/instances_train2017.json',
        'data_prefix': {'img': 'train2017/'},
        'pipeline': [
            {'type': 'LoadImageFromFile'},
            {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
            {'type': 'PackDetInputs'},
        ],
    }
    everything = build('mmdet', **config, test_mode=True)
    training = build('mmdet', **config, filter_cfg={'filter_empty_gt': True})
    assert len(everything) == 40
    # Images 1, 17 and 33 of 40 show no object.
    assert len(training) == 37
    crowds = 0
    for sample in everything:
        objects = sample['data_samples'].gt_instances
        crowds += len(sample['data_samples'].ignored_instances)
        assert objects.masks.masks.shape[1:] == tuple(sample['inputs'].shape[1:])
        assert len(objects.masks) == len(objects.bboxes) == len(objects.labels)
        assert objects.masks.masks.any((1, 2)).all()
    assert crowds == 3


# ------------------------------------------------------------------------- ImageNet


def test_imagenet_classes_are_in_the_lists_of_imagenet_1k_a_and_r():
    def read(name):
        text = (files('timm.data') / '_info' / f'{name}_synsets.txt').read_text()
        return set(text.split())

    assert set(imagenet.CLASSES) <= read('imagenet')
    assert set(imagenet.CLASSES) & read('imagenet_a') == {'n02980441', 'n03196217'}
    assert set(imagenet.CLASSES) & read('imagenet_r') == {
        'n02123045',
        'n02980441',
        'n03773504',
        'n04266014',
        'n07920052',
    }


@pytest.mark.parametrize('kind', ['ImageNet', 'CustomDataset'])
@pytest.mark.parametrize(('split', 'count'), [('train', 200), ('val', 100)])
def test_imagenet_loads_in_mmpretrain(data, kind, split, count):
    where = {'split': split} if kind == 'ImageNet' else {'data_prefix': split}
    dataset = build(
        'mmpretrain',
        type=kind,
        data_root=str(data / 'imagenet'),
        metainfo={'classes': list(imagenet.CLASSES.values())},
        pipeline=[{'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}],
        **where,
    )
    assert dataset.folder_to_idx == {w: i for i, w in enumerate(imagenet.CLASSES)}
    assert np.bincount(dataset.get_gt_labels()).tolist() == [count // 10] * 10
    assert tuple(dataset[0]['inputs'].shape) == (3, 96, 96)


def test_imagenet_is_not_told_by_mean_colour(data):
    def read(split):
        colours, classes = [], []
        for path in sorted((data / 'imagenet' / split).rglob('*.JPEG')):
            with Image.open(path) as image:
                colours.append(np.asarray(image).mean((0, 1)) / 255)
            classes.append(path.parent.name)
        return colours, classes

    model = LogisticRegression(C=100, max_iter=2000).fit(*read('train'))
    assert model.score(*read('val')) < 0.4


# --------------------------------------------------------- making, keeping, replacing


@pytest.mark.parametrize('name', ['ade20k', 'coco', 'imagenet'])
def test_same_seed_same_files(tmp_path, name):
    hashes = []
    for folder, seed in (('a', 3), ('b', 3), ('c', 4)):
        make_mini(tmp_path / folder, [name], seed=seed, train=12, val=10)
        hashes.append(hash_files(tmp_path / folder))
    assert hashes[0] == hashes[1]
    assert set(hashes[0]) == set(hashes[2])
    images = [name for name in hashes[0] if name.lower().endswith(('jpg', 'jpeg'))]
    assert all(hashes[0][image] != hashes[2][image] for image in images)
    assert len({hashes[0][image] for image in images}) == len(images) == 22


def test_complete_data_set_is_left_alone(tmp_path):
    first = make_mini(tmp_path, ['coco'], train=2, val=2)[0]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
    again = make_mini(tmp_path, ['coco'], train=2, val=2)[0]
    assert first.written
    assert not again.written
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}


@pytest.mark.parametrize('damage', ['missing', 'changed'])
def test_damaged_data_set_is_made_again(tmp_path, damage):
    make_mini(tmp_path, ['ade20k'], train=2, val=1)
    before = hash_files(tmp_path)
    victim = next(tmp_path.rglob('*.png'))
    victim.unlink() if damage == 'missing' else victim.write_bytes(b'')
    assert make_mini(tmp_path, ['ade20k'], train=2, val=1)[0].written
    assert hash_files(tmp_path) == before


def test_other_settings_replace(tmp_path):
    make_mini(tmp_path, ['ade20k'], train=3, val=1)
    made = make_mini(tmp_path, ['ade20k'], train=2, val=1)[0]
    assert made.written
    assert len(list(made.folder.rglob('*.jpg'))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ['ADEChallengeData2016']


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError])
def test_interrupted_run_leaves_nothing(tmp_path, error):
    def interrupt(name, done, total):
        if done == 3:
            raise error('stopped')

    with pytest.raises(error):
        make_mini(tmp_path, ['coco'], train=4, val=2, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_run_keeps_the_data_set_it_would_replace(tmp_path):
    make_mini(tmp_path, ['coco'], train=2, val=2)
    before = hash_files(tmp_path)

    def interrupt(name, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_mini(tmp_path, ['coco'], train=4, val=2, progress=interrupt)
    assert hash_files(tmp_path) == before


def test_manifest_is_written_last(tmp_path):
    seen = []

    def look(name, done, total):
        seen.extend(tmp_path.rglob('mini.json'))

    made = make_mini(tmp_path, ['ade20k'], train=2, val=1, progress=look)[0]
    assert seen == []
    manifest = json.loads((made.folder / 'mini.json').read_text())
    assert manifest['settings']['counts'] == {'train': 2, 'val': 1}


# ------------------------------------------------------------------------- bad input


@pytest.mark.parametrize('kind', ['folder', 'empty folder', 'file'])
def test_what_the_tool_did_not_make_is_not_touched(tmp_path, kind):
    place = tmp_path / 'coco'
    if kind == 'file':
        place.write_text('mine')
    else:
        place.mkdir()
    if kind == 'folder':
        (place / 'mini.json').write_text('{"tool": "another"}')
    before = hash_files(tmp_path)
    with pytest.raises(MiniDataError, match='coco.*was not made by make_mini'):
        make_mini(tmp_path, ['ade20k', 'coco'], train=2, val=2)
    assert hash_files(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ['coco']


def test_files_added_by_the_user_are_not_deleted(tmp_path):
    made = make_mini(tmp_path, ['ade20k'], train=2, val=1)[0]
    (made.folder / 'notes.txt').write_text('mine')
    with pytest.raises(MiniDataError, match='notes.txt'):
        make_mini(tmp_path, ['ade20k'], train=3, val=1)
    assert (made.folder / 'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'names': ['cityscapes']}, "'cityscapes'.*ade20k, coco, imagenet"),
        ({'seed': -1}, 'seed must be 0 or more, got -1'),
        ({'names': ['coco'], 'val': 1}, 'val must be at least 2 for coco, got 1'),
        ({'names': ['imagenet'], 'train': 9}, 'train must be at least 10 for imagenet'),
    ],
    ids=['name', 'seed', 'coco too small', 'imagenet too small'],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_mini(tmp_path / 'out', **arguments)
    assert not (tmp_path / 'out').exists()


@pytest.mark.skipif(
    hasattr(os, 'geteuid') and os.geteuid() == 0, reason='root may write everywhere'
)
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(MiniDataError, match='ade20k cannot be written'):
        make_mini(tmp_path, ['ade20k'], train=1, val=1)


def run_tool(*arguments):
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_tool_writes_and_says_what(tmp_path):
    result = run_tool('ade20k', '--out-dir', tmp_path, '--train', 2, '--val', 1)
    assert result.returncode == 0, result.stderr
    line = next(x for x in result.stdout.splitlines() if x.startswith('ade20k: '))
    assert str(tmp_path / 'ADEChallengeData2016') in line
    assert '2 train and 1 val images' in line


@pytest.mark.parametrize(
    ('names', 'inside_file', 'message'),
    [
        (['cityscapes'], False, "unknown mini data set 'cityscapes'"),
        (['ade20k'], True, 'out_dir .* cannot be made'),
    ],
    ids=['unknown name', 'out_dir inside a file'],
)
def test_tool_ends_with_one_sentence(tmp_path, names, inside_file, message):
    (tmp_path / 'file').write_text('')
    out_dir = tmp_path / 'file' / 'out' if inside_file else tmp_path / 'out'
    result = run_tool(*names, '--out-dir', out_dir)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert re.search(message, result.stderr)
