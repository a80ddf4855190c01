"""Sound mini data passes the check, and every kind of damage is named."""

import shutil

import numpy as np
import pytest
from helpers.checked_data import (
    KEY,
    ade20k,
    check,
    coco,
    edit_annotations,
    first,
    imagenet,
    messages,
    truncate,
)
from mmengine.registry import init_default_scope
from PIL import Image


@pytest.mark.parametrize(
    'describe, counts, published',
    [
        (ade20k, {'images': 3, 'label maps': 3}, 20_210),
        (coco, {'images': 3, 'classes': 80}, 118_287),
        (imagenet, {'images': 10, 'classes': 10}, 1_281_167),
    ],
    ids=['ade20k', 'coco', 'imagenet'],
)
def test_sound_data(sound, describe, counts, published):
    calls = []
    report = check(describe(sound), progress=lambda *call: calls.append(call))
    assert not report.problems
    assert counts.items() <= report.counts.items()
    assert report.published == published
    total = counts['images']
    assert calls == [(KEY, done, total) for done in range(total + 1)]


@pytest.mark.parametrize(
    'describe, image',
    [
        (ade20k, 'ADEChallengeData2016/images/training/*.jpg'),
        (ade20k, 'ADEChallengeData2016/annotations/training/*.png'),
        (coco, 'coco/train2017/*.jpg'),
        (imagenet, 'imagenet/train/*/*'),
    ],
    ids=['ade20k-image', 'ade20k-labels', 'coco', 'imagenet'],
)
def test_truncated_and_empty_files(mini, describe, image):
    path = first(mini, image)
    truncate(path)
    problems = messages(describe(mini))
    assert len(problems) == 1
    assert problems[0].startswith(f'{path}: cannot be read')
    path.write_bytes(b'')
    problems = messages(describe(mini))
    assert len(problems) == 1
    assert 'cannot be read' in problems[0]


@pytest.mark.parametrize('value, wrong', [(0, False), (150, False), (151, True)])
def test_label_values(mini, value, wrong):
    path = first(mini, 'ADEChallengeData2016/annotations/training/*.png')
    labels = np.asarray(Image.open(path)).copy()
    labels[3, 4] = value
    Image.fromarray(labels).save(path)
    expected = [f'{path}: holds labels outside of 0 to 150: {value}']
    assert messages(ade20k(mini)) == (expected if wrong else [])


def test_labels_without_reduction_may_be_ignored_but_not_more(mini):
    path = first(mini, 'ADEChallengeData2016/annotations/training/*.png')
    labels = np.zeros((128, 160), np.uint8)
    labels[0, :3] = 149, 150, 255
    Image.fromarray(labels).save(path)
    config = dict(ade20k(mini), reduce_zero_label=False)
    assert messages(config) == [f'{path}: holds labels outside of 0 to 149: 150']


def test_label_map_of_another_size_or_in_colour(mini):
    folder = mini / 'ADEChallengeData2016/annotations/training'
    first_map, second_map = sorted(folder.glob('*.png'))[:2]
    Image.fromarray(np.zeros((128, 150), np.uint8)).save(first_map)
    Image.fromarray(np.zeros((128, 160, 3), np.uint8)).save(second_map)
    assert messages(ade20k(mini)) == [
        f'{first_map}: is 150x128, but its image is 160x128',
        f'{second_map}: has 3 channels, a label map has one',
    ]


def test_image_and_label_map_without_each_other(mini):
    root = mini / 'ADEChallengeData2016'
    image, other = sorted((root / 'images/training').glob('*.jpg'))[:2]
    label_map = root / 'annotations/training' / f'{image.stem}.png'
    label_map.unlink()
    other.unlink()
    orphan = root / 'annotations/training' / f'{other.stem}.png'
    assert messages(ade20k(mini)) == [
        f"{image}: has no label map '{label_map}'",
        f'{orphan}: is a label map without an image',
    ]


@pytest.mark.parametrize(
    'describe, folder',
    [
        (ade20k, 'ADEChallengeData2016/annotations/training'),
        (coco, 'coco/train2017'),
        (imagenet, 'imagenet/train'),
    ],
    ids=['ade20k', 'coco', 'imagenet'],
)
def test_missing_folder(mini, describe, folder):
    shutil.rmtree(mini / folder)
    (problem,) = messages(describe(mini))
    assert folder in problem and problem.endswith('is no folder')


def test_folder_without_images(mini):
    folder = mini / 'ADEChallengeData2016/images/training'
    for path in folder.iterdir():
        path.unlink()
    assert f"{folder}: holds no image that ends in '.jpg'" in messages(ade20k(mini))


def test_coco_names_a_missing_image(mini):
    path = first(mini, 'coco/train2017/*.jpg')
    path.unlink()
    (problem,) = messages(coco(mini))
    assert problem.startswith(f'{path}: does not exist, but')


def test_coco_annotations_of_unknown_images_and_categories(mini):
    def edit(content):
        content['annotations'][0].update(id=7, image_id=-1, category_id=12)

    path = edit_annotations(mini, edit)
    assert messages(coco(mini)) == [
        f'{path}: annotation 7 has image_id=-1, which the file does not list',
        f'{path}: annotation 7 has category_id=12, which the file does not list',
    ]


def test_coco_wrong_size_and_missing_category(mini):
    def edit(content):
        content['images'][0].update(width=1, height=2)
        content['categories'] = [c for c in content['categories'] if c['id'] != 90]

    path = edit_annotations(mini, edit)
    problems = messages(coco(mini))
    assert problems[0] == f"{path}: lacks the category 'toothbrush'"
    assert problems[1].endswith('but its annotation says 1x2')
    assert len(problems) == 2


@pytest.mark.parametrize('text', ['{', '[]', '{"images": []}'])
def test_coco_annotation_file_of_another_format(mini, text):
    path = mini / 'coco/annotations/instances_train2017.json'
    path.write_text(text)
    (problem,) = messages(coco(mini))
    assert problem.startswith(f'{path}: is no annotation file in COCO format')


def test_imagenet_lacks_a_class_folder(mini):
    folder = first(mini, 'imagenet/train/*')
    shutil.rmtree(folder)
    assert messages(imagenet(mini)) == [
        f'{folder.parent}: holds 9 class folders, but there are 10'
    ]


def test_imagenet_empty_class_folder(mini):
    folder = first(mini, 'imagenet/train/*')
    for path in folder.iterdir():
        path.unlink()
    assert messages(imagenet(mini)) == [f'{folder}: is a class folder without images']


def test_imagenet_annotation_file(mini):
    train = mini / 'imagenet/train'
    image = first(mini, 'imagenet/train/*/*').relative_to(train)
    lines = [f'{image} 9', f'{image} 10', 'absent.jpg 0', f'{image}']
    meta = mini / 'imagenet/meta/train.txt'
    meta.parent.mkdir()
    meta.write_text('\n'.join(lines))
    assert messages(imagenet(mini)) == [
        f"{meta}:2: '{image} 10' is not an image's path and a label below 10",
        f'{train}/absent.jpg: does not exist, but {meta} names it',
        f"{meta}:4: '{image}' is not an image's path and a label below 10",
    ]


def test_unknown_layout(tmp_path):
    init_default_scope('mmpretrain')
    config = dict(type='CIFAR10', data_prefix=str(tmp_path), test_mode=False)
    with pytest.raises(ValueError, match=f'{KEY}: CIFAR10 cannot be checked'):
        check(config)


def test_settings_that_the_data_set_refuses(mini):
    config = dict(ade20k(mini), colour='red')
    with pytest.raises(ValueError, match="type='ADE20KDataset' cannot be checked"):
        check(config)
