"""tools/dataset_converters/corrupt_imagenet.py: its files, resumed and refused."""

import hashlib
import json
import multiprocessing
import random
import time

import numpy as np
import pytest
from helpers.tool_runs import assert_refuses, assert_runs, run_tool
from PIL import Image
from torchvision.transforms import functional

from mmdcls.datasets.corrupt_imagenet import Making, corrupt_imagenet
from mmdcls.datasets.corruptions import corrupt_image

TOOL = 'dataset_converters/corrupt_imagenet.py'
MAKING = Making(resize=37, crop=32)
CORRUPTIONS = ['shot_noise', 'contrast', 'jpeg_compression']


@pytest.fixture
def source(tmp_path):
    """Three images of two classes, one of them grey and wide."""
    rng = np.random.default_rng(0)
    shapes = {'n01440764/a.JPEG': (40, 50, 3), 'n01440764/b.png': (60, 41, 3)}
    for name, shape in {**shapes, 'n01443537/c.jpg': (50, 90)}.items():
        path = tmp_path / 'val' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(path)
    return tmp_path / 'val'


def hash_files(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def test_files_are_made_as_published(source, tmp_path):
    target = tmp_path / 'c'
    assert corrupt_imagenet(source, target, CORRUPTIONS, [2, 5], MAKING) == []
    images = sorted(
        path for path in target.rglob('*') if path.parent.parent != tmp_path
    )
    images = [path for path in images if path.is_file()]
    assert len(images) == 3 * 2 * 3
    path = target / 'contrast/5/n01443537/c.jpg'
    image = Image.open(source / 'n01443537/c.jpg').convert('RGB')
    image = functional.center_crop(functional.resize(image, 37), 32)
    expected = corrupt_image(
        np.array(image), 'contrast', 5, 'n01443537/c.jpg', jpeg_quality=85
    )
    assert (np.array(Image.open(path)) == expected).all()


def test_number_of_workers_does_not_matter(source, tmp_path):
    for workers in (1, 2):
        corrupt_imagenet(
            source, tmp_path / f'{workers}', CORRUPTIONS, [1], MAKING, workers
        )
    assert hash_files(tmp_path / '1') == hash_files(tmp_path / '2')


def test_finished_files_are_left_alone(source, tmp_path):
    corrupt_imagenet(source, tmp_path / 'c', CORRUPTIONS[:2], [1, 2], MAKING)
    before = hash_files(tmp_path / 'c')
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / 'c').rglob('*.jpg')}
    (tmp_path / 'c/contrast/2/n01443537/c.jpg').unlink()
    corrupt_imagenet(source, tmp_path / 'c', CORRUPTIONS, [1, 2], MAKING)
    after = hash_files(tmp_path / 'c')
    assert before.items() <= after.items() and len(after) == len(before) + 6
    kept = [p for p in times if 'contrast/2' not in str(p)]
    assert all(times[p] == p.stat().st_mtime_ns for p in kept)


@pytest.mark.slow
def test_killed_run_is_finished_by_the_same_call(source, tmp_path):
    arguments = (CORRUPTIONS, [1, 2, 3, 4, 5], MAKING)
    corrupt_imagenet(source, tmp_path / 'whole', *arguments)
    context = multiprocessing.get_context('spawn')
    process = context.Process(
        target=corrupt_imagenet, args=(source, tmp_path / 'c', *arguments)
    )
    process.start()
    while not list((tmp_path / 'c').rglob('*.jpg')):
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.05))
    process.kill()
    process.join()
    corrupt_imagenet(source, tmp_path / 'c', *arguments)
    finished = {
        name: value
        for name, value in hash_files(tmp_path / 'c').items()
        if not name.endswith('.tmp')
    }
    assert finished == hash_files(tmp_path / 'whole')


def another_seed(source, target):
    corrupt_imagenet(source, target, ['fog'], [1], Making(37, 32, seed=1))


def another_source(source, target):
    (source / 'n01440764/a.JPEG').unlink()
    corrupt_imagenet(source, target, ['fog'], [1], MAKING)


@pytest.mark.parametrize('other', [another_seed, another_source])
def test_two_makings_are_not_mixed(source, tmp_path, other):
    corrupt_imagenet(source, tmp_path / 'c', ['fog'], [1], MAKING)
    with pytest.raises(ValueError, match='images of another making'):
        other(source, tmp_path / 'c')


def test_foreign_folder_is_left_alone(source, tmp_path):
    (tmp_path / 'c').mkdir()
    (tmp_path / 'c/notes.txt').write_text('mine')
    with pytest.raises(ValueError, match='was not made by corrupt_imagenet'):
        corrupt_imagenet(source, tmp_path / 'c', ['fog'], [1], MAKING)
    assert hash_files(tmp_path / 'c').keys() == {'notes.txt'}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(corruptions=['rain']), "corruption='rain' must be one of"),
        (dict(severities=[0]), 'severity=0 must be one of'),
        (dict(source='nowhere'), "source='nowhere' has no images in class folders"),
    ],
    ids=['corruption', 'severity', 'source'],
)
def test_bad_arguments(source, tmp_path, changes, message):
    arguments = dict(source=source, target=tmp_path / 'c', corruptions=['fog'])
    with pytest.raises(ValueError, match=message):
        corrupt_imagenet(**{**arguments, **changes})
    assert not (tmp_path / 'c').exists()


def test_crop_larger_than_the_image():
    with pytest.raises(ValueError, match='crop=64 must be .* at most resize=60'):
        Making(resize=60, crop=64)


@pytest.mark.slow
def test_hidden_files_and_folders_are_no_images(source, tmp_path):
    for name in ('n01440764/._a.JPEG', '.trash/a.JPEG', 'n01443537/Thumbs.db'):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b'no image')
    target = tmp_path / 'c'
    assert corrupt_imagenet(source, target, ['contrast'], [1], MAKING) == []
    names = {path.name for path in (target / 'contrast').rglob('*.*')}
    assert names == {'a.JPEG', 'b.png', 'c.jpg'}


def test_tool_names_unreadable_images_and_goes_on(source, tmp_path):
    (source / 'n01440764/a.JPEG').write_bytes(b'no image')
    options = ('--corruptions', 'fog', '--severities', 1, '--resize', 37, '--crop', 32)
    process = run_tool(TOOL, source, tmp_path / 'c', *options, '--workers', 1)
    assert process.returncode == 1
    assert 'cannot be read: n01440764/a.JPEG' in process.stderr
    assert process.stderr.strip().endswith(f'1 images of {source} cannot be read.')
    assert len(list((tmp_path / 'c').rglob('*.[jp][pn]g'))) == 2
    manifest = json.loads((tmp_path / 'c/corrupt_imagenet.json').read_text())
    assert manifest['making'] == dict(resize=37, crop=32, quality=85, seed=0)


@pytest.mark.slow
def test_tool_succeeds_and_refuses(source, tmp_path):
    options = ('--corruptions', 'fog', '--severities', 1, '--resize', 37)
    assert_runs(TOOL, source, tmp_path / 'c', *options, '--crop', 32, '--workers', 1)
    assert_refuses('at most resize=37', TOOL, source, tmp_path / 'd', *options)
