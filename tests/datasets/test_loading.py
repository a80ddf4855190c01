"""One reader: the config's own loading, and which files are no whole images."""

import mmcv
import numpy as np
import pytest
from helpers.odd_images import DAMAGED, WHOLE, write_odd_images
from mmcv.transforms import LoadImageFromFile

from mmdcls.datasets import LoadImageOrMark
from mmdcls.datasets.loading import (
    UnreadableImageError,
    check_readable,
    check_whole,
    displayable,
    find_loading,
)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_odd_images(tmp_path_factory.mktemp('odd'))


@pytest.mark.parametrize('name', WHOLE)
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(color_type='grayscale'),
        dict(color_type='unchanged', to_float32=True),
        dict(imdecode_backend='pillow', color_type='color_ignore_orientation'),
    ],
    ids=str,
)
def test_images_are_loaded_as_the_config_does(images, name, options):
    sample = dict(img_path=str(images[name]))
    loading = dict(type='LoadImageFromFile', **options)
    found = LoadImageOrMark(loading)(dict(sample))
    expected = LoadImageFromFile(**options)(dict(sample))
    assert found.pop('unreadable') == ''
    np.testing.assert_array_equal(found.pop('img'), expected.pop('img'))
    assert found == expected


@pytest.mark.parametrize('name', WHOLE)
def test_all_kinds_show_the_same_picture(images, name):
    picture = mmcv.imread(str(images['rgb.png'])).astype(int)
    if 'grey' in name:
        picture = mmcv.bgr2gray(picture.astype(np.uint8), keepdim=True).astype(int)
    if name == 'one.png':
        picture = picture[:1, :1]
    found = LoadImageOrMark()(dict(img_path=str(images[name])))['img']
    assert np.abs(found - picture).max() <= 8


@pytest.mark.parametrize('name', [*DAMAGED, 'gone.png'])
@pytest.mark.parametrize(
    'options, channels, shape',
    [
        ({}, 3, (256, 256, 3)),
        (dict(color_type='grayscale', to_float32=True), 1, (256, 256)),
        (dict(color_type='unchanged', ignore_empty=True), 4, (256, 256, 4)),
    ],
    ids=['colour', 'grey', 'four channels'],
)
def test_what_is_no_whole_image_is_marked(images, name, options, channels, shape):
    path = images['rgb.png'].with_name(name)
    load = LoadImageOrMark(dict(type='LoadImageFromFile', **options), channels)
    results = load(dict(img_path=str(path)))
    assert results['unreadable'] and '\n' not in results['unreadable']
    assert results['img'].shape == shape and not results['img'].any()
    assert results['img'].dtype == (np.float32 if channels == 1 else np.uint8)
    assert results['img_shape'] == results['ori_shape'] == (256, 256)


@pytest.mark.parametrize('cut', [0.2, 0.6, 0.98])
@pytest.mark.parametrize('progressive', [False, True])
def test_truncation_is_found_wherever_it_is(tmp_path, cut, progressive):
    from PIL import Image

    path = tmp_path / 'a.jpg'
    noise = Image.effect_noise((200, 160), 90).convert('RGB')
    noise.save(path, progressive=progressive)
    check_whole(str(path), LoadImageFromFile())
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(UnreadableImageError):
        check_whole(str(path), LoadImageFromFile())


def test_formats_that_pillow_does_not_know_are_left_to_the_loading(tmp_path):
    (tmp_path / 'a.raw').write_bytes(b'\1\2\3')
    check_whole(str(tmp_path / 'a.raw'), lambda results: {**results, 'img': 0})
    with pytest.raises(UnreadableImageError, match='no image is in it'):
        check_whole(str(tmp_path / 'a.raw'), lambda results: None)


def test_damaged_files_are_counted_and_named(images):
    paths = [str(images[name]) for name in (*WHOLE, *DAMAGED)] + ['labels.txt']
    with pytest.raises(UnreadableImageError, match=r'4 of 13 images cannot be read: '):
        check_readable(paths, LoadImageFromFile())
    check_readable([str(images[name]) for name in WHOLE], LoadImageFromFile())


@pytest.mark.parametrize(
    'pipeline, expected',
    [
        ([dict(type='LoadImageFromFile'), dict(type='Resize')], 0),
        ([dict(type='Pad'), dict(type='mmseg.LoadSingleRSImageFromFile')], 1),
        ([dict(type=LoadImageFromFile)], 0),
        ([dict(type='LoadAnnotations')], None),
    ],
    ids=['usual', 'another', 'class', 'none'],
)
def test_loading_transform_is_found(pipeline, expected):
    assert find_loading(pipeline) == expected


@pytest.mark.parametrize(
    'image, expected',
    [
        (np.full((2, 3), 7, np.uint8), [7, 7, 7]),
        (np.full((2, 3, 1), 7.4, np.float32), [7, 7, 7]),
        (np.full((2, 3), 0x1234, np.uint16), [0x12] * 3),
        (np.full((2, 3, 3), (1, 2, 3), np.uint8), [3, 2, 1]),
        (np.full((2, 3, 4), (1, 2, 300, 4), np.float32), [255, 2, 1]),
    ],
    ids=['grey', 'float', '16 bits', 'colour', 'four channels'],
)
def test_any_image_can_be_shown(image, expected):
    picture = displayable(image)
    assert picture.shape == (2, 3, 3) and picture.dtype == np.uint8
    assert (picture == expected).all()
