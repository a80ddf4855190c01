"""The mini ImageNet in six layouts: what each data set finds, and what is refused."""

import shutil

import pytest
from helpers.robustness_runs import SIZE

from mmdcls.datasets import (
    ImageNetA,
    ImageNetC,
    ImageNetCBar,
    ImageNetR,
    ImageNetSketch,
    ImageNetVal,
    LoadImageOrMark,
)
from mmdcls.datasets.corruptions import EXTRA_CORRUPTIONS
from mmdcls.testing import imagenet
from mmdcls.testing.robustness import FOLDERS, make_mini_robustness

CLASSES = sorted(imagenet.CLASSES)


@pytest.mark.parametrize(
    ('kind', 'folder', 'count'),
    [
        (ImageNetVal, 'imagenet/val', 20),
        (ImageNetC, 'imagenet-c', 15 * 5 * 20),
        (ImageNetCBar, 'imagenet-c-bar', 10 * 5 * 20),
        (ImageNetCBar, 'imagenet-c-bar-generated', 10 * 5 * 20),
        (ImageNetA, 'imagenet-a', 2 * 2),
        (ImageNetR, 'imagenet-r', 5 * 2),
        (ImageNetSketch, 'imagenet-sketch', 20),
    ],
)
def test_every_layout_is_read(mini_sets, kind, folder, count):
    dataset = kind(mini_sets / folder, wordnet_ids=CLASSES)
    assert len(dataset) == count
    sample = LoadImageOrMark()(dataset.get_data_info(count - 1))
    assert sample['unreadable'] == ''
    corrupted = kind in (ImageNetC, ImageNetCBar)
    assert sample['img'].shape == ((SIZE, SIZE, 3) if corrupted else (96, 96, 3))


def test_extra_corruptions_are_there(mini_sets):
    dataset = ImageNetC(
        mini_sets / 'imagenet-c', EXTRA_CORRUPTIONS, wordnet_ids=CLASSES
    )
    assert len(dataset) == 4 * 5 * 20


def test_complete_sets_are_left_alone(mini_sets, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in mini_sets.rglob('*')}
    assert not make_mini_robustness(tmp_path, mini_sets)
    assert before == {p: p.stat().st_mtime_ns for p in mini_sets.rglob('*')}


def test_incomplete_sets_are_not_touched(mini_sets, tmp_path):
    shutil.copytree(mini_sets / FOLDERS[0], tmp_path / 'sets' / FOLDERS[0])
    with pytest.raises(ValueError, match='not empty and not a complete'):
        make_mini_robustness(mini_sets / FOLDERS[0], tmp_path / 'sets')


def test_too_few_images_leave_nothing_behind(mini_sets, tmp_path):
    with pytest.raises(ValueError, match='images_per_class=9, but .* holds 2'):
        make_mini_robustness(mini_sets / FOLDERS[0], tmp_path / 'sets', 9)
    assert list(tmp_path.iterdir()) == []
