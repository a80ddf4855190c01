"""Images and label maps are judged as the pipeline loads them."""

import json

import numpy as np
import pytest
from helpers.checked_data import (
    ade20k,
    check,
    coco,
    edit_annotations,
    first,
    imagenet,
    messages,
)
from PIL import Image

TURNED = 6


def add_orientation(path, orientation=TURNED):
    exif = Image.Exif()
    exif[274] = orientation
    Image.open(path).save(path, exif=exif)


def load(**kwargs):
    return [dict(type='LoadImageFromFile', **kwargs)]


@pytest.mark.parametrize(
    'options, turned',
    [
        ({}, True),
        (dict(imdecode_backend='pillow'), True),
        (dict(color_type='color_ignore_orientation'), False),
        (dict(color_type='unchanged'), False),
    ],
    ids=['default', 'pillow', 'color_ignore_orientation', 'unchanged'],
)
def test_exif_orientation_of_coco(mini, options, turned):
    path = first(mini, 'coco/train2017/*.jpg')
    add_orientation(path)
    config = dict(coco(mini), pipeline=load(**options))
    of_the_file = (
        f'{path}: is 128x160 as the pipeline loads it (turned by its EXIF orientation '
        '6), but its annotation says 160x128'
    )
    assert messages(config) == ([of_the_file] if turned else [])

    def turn(content):
        image = next(i for i in content['images'] if i['file_name'] == path.name)
        image.update(width=128, height=160)

    edit_annotations(mini, turn)
    of_the_turned = f'{path}: is 160x128, but its annotation says 128x160'
    assert messages(config) == ([] if turned else [of_the_turned])


def test_exif_orientation_beside_a_label_map(mini):
    image = first(mini, 'ADEChallengeData2016/images/training/*.jpg')
    label_map = first(mini, 'ADEChallengeData2016/annotations/training/*.png')
    add_orientation(image)
    assert messages(ade20k(mini)) == [
        f'{label_map}: is 160x128, but its image is 128x160 as the pipeline loads it '
        '(turned by its EXIF orientation 6)'
    ]
    unturned = load(color_type='color_ignore_orientation')
    assert messages(dict(ade20k(mini), pipeline=unturned)) == []


def test_an_orientation_that_keeps_the_size_is_told(mini):
    path = first(mini, 'coco/train2017/*.jpg')
    add_orientation(path, orientation=3)
    report = check(coco(mini))
    assert not report.problems
    assert any(
        note.startswith('the EXIF orientation of 1 images') and str(path) in note
        for note in report.notes
    )


ODD = {
    'grey': Image.new('L', (160, 128), 7),
    'grey-16-bit': Image.fromarray(np.full((128, 160), 40_000, np.uint16)),
    'palette': Image.new('RGB', (160, 128), (9, 8, 7)).quantize(2),
    'alpha': Image.new('RGBA', (160, 128), (1, 2, 3, 4)),
    'one-pixel': Image.new('RGB', (1, 1)),
    'bits': Image.new('1', (160, 128)),
}


@pytest.mark.parametrize('kind', ODD)
def test_odd_images_that_the_pipeline_loads_in_colour(mini, kind):
    path = first(mini, 'imagenet/train/*/*')
    path.unlink()
    ODD[kind].save(path.with_suffix('.png'))
    assert messages(imagenet(mini, pipeline=load())) == []


def test_cmyk(mini):
    path = first(mini, 'imagenet/train/*/*')
    Image.new('CMYK', (160, 128), (1, 2, 3, 4)).save(path, 'jpeg')
    assert messages(imagenet(mini, pipeline=load())) == []


@pytest.mark.parametrize(
    'kind, form',
    [
        ('grey', '1 channel of uint8'),
        ('grey-16-bit', '1 channel of uint16'),
        ('alpha', '4 channels of uint8'),
    ],
)
def test_unchanged_images_must_be_alike(mini, kind, form):
    path = first(mini, 'imagenet/train/*/*')
    path.unlink()
    path = path.with_suffix('.png')
    ODD[kind].save(path)
    assert messages(imagenet(mini, pipeline=load(color_type='unchanged'))) == [
        f'{path}: is loaded with {form}, most others with 3 channels of uint8'
    ]


def test_what_only_the_pipeline_can_read_is_no_problem(mini, monkeypatch):
    def refuse(path):
        raise Image.UnidentifiedImageError(path)

    monkeypatch.setattr(Image, 'open', refuse)
    assert messages(imagenet(mini, pipeline=load())) == []


def test_a_pipeline_without_a_known_loader_is_told(mini):
    report = check(imagenet(mini, pipeline=[dict(type='Resize', scale=4)]))
    assert not report.problems
    assert report.notes[0].startswith('its pipeline has no transform named Load')


def label_maps(mini):
    return sorted((mini / 'ADEChallengeData2016/annotations/training').glob('*.png'))


def two_classes(mini, **kwargs):
    config = dict(ade20k(mini), type='BaseSegDataset', **kwargs)
    return dict(config, metainfo=dict(classes=('background', 'vessel')))


def write_masks(mini, *values):
    for path in label_maps(mini):
        mask = np.full((128, 160), values[0], np.uint8)
        for i, value in enumerate(values):
            mask.flat[i] = value
        Image.fromarray(mask).save(path)


def test_masks_of_0_and_255(mini):
    write_masks(mini, 0, 255)
    report = check(two_classes(mini))
    folder = label_maps(mini)[0].parent
    assert list(map(str, report.problems)) == [
        f"{folder}: of their 2 classes the label maps show only 'background'; 255 is "
        'ignored, so a mask of 0 and 255 must hold 1 in place of 255'
    ]
    assert report.notes == ['1 of 2 classes never occurs: vessel']


def test_masks_of_0_and_255_with_zero_reduced(mini):
    write_masks(mini, 0, 255)
    assert messages(two_classes(mini, reduce_zero_label=True)) == [
        f'{label_maps(mini)[0].parent}: the label maps show none of their 2 classes; '
        '0 and 255 are ignored (reduce_zero_label)'
    ]


def test_masks_of_0_and_1(mini):
    write_masks(mini, 0, 1)
    report = check(two_classes(mini))
    assert not report.problems and not report.notes


def test_classes_that_never_occur_are_told(mini):
    # With reduce_zero_label, the file's 1 is the first class.
    write_masks(mini, *range(148), 149)
    report = check(ade20k(mini))
    assert not report.problems
    assert report.notes == ['2 of 150 classes never occur: glass, flag']


def test_a_choice_of_classes_is_mapped_as_the_pipeline_does(mini):
    write_masks(mini, 0, 1, 2, 150)
    config = dict(ade20k(mini), metainfo=dict(classes=('building', 'wall')))
    report = check(config)
    assert not report.problems and not report.notes
    write_masks(mini, 151)
    assert messages(config)[0].endswith('holds labels outside of 0 to 150: 151')


def test_label_maps_of_16_bits_lose_their_upper_ones(mini):
    path = label_maps(mini)[0]
    labels = np.ones((128, 160), np.uint16)
    labels[5] = 256 + 3
    Image.fromarray(labels).save(path)
    assert messages(ade20k(mini)) == [
        f'{path}: holds values up to 259, of which the pipeline keeps the lowest 8 bits'
    ]


def test_label_maps_with_a_palette(mini):
    path = label_maps(mini)[0]
    image = Image.open(path).convert('P')
    image.putdata(list(np.asarray(Image.open(path)).ravel()))
    image.save(path)
    assert messages(ade20k(mini)) == []
    # OpenCV gives the colours.
    loader = dict(type='LoadAnnotations', imdecode_backend='cv2')
    pipeline = [*load(), loader]
    assert messages(dict(ade20k(mini), pipeline=pipeline)) == [
        f'{path}: has 3 channels, a label map has one'
    ]


def test_categories_without_an_object_are_told(mini):
    path = mini / 'coco/annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    seen = {annotation['category_id'] for annotation in content['annotations']}
    (note,) = check(coco(mini)).notes
    assert note.startswith(f'{80 - len(seen)} of 80 classes never occur: ')
