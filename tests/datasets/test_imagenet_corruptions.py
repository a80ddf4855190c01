"""Corrupting images: deterministic, the package's own pixels, the same on the fly."""

import subprocess
import sys
from io import BytesIO

import imagecorruptions
import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

import mmdcls.registry  # noqa: F401  registers the scope
from mmdcls.datasets import Corrupt
from mmdcls.datasets.corruptions import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    corrupt_image,
)

ALL = CORRUPTIONS + EXTRA_CORRUPTIONS


def make_image(height=37, width=45, seed=0):
    """Smooth colours with some texture, odd sides."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=2) % 200
    return (image + rng.integers(0, 50, image.shape)).astype(np.uint8)


@pytest.mark.parametrize('corruption', ALL)
def test_every_corruption_and_severity(corruption):
    image = make_image()
    before = image.copy()
    for severity in SEVERITIES:
        corrupted = corrupt_image(image, corruption, severity, key='a')
        again = corrupt_image(image, corruption, severity, key='a')
        assert corrupted.shape == image.shape and corrupted.dtype == np.uint8
        assert (corrupted == again).all()
        assert (corrupted != image).any()
    assert (image == before).all()


def test_names_are_those_of_the_package():
    assert list(CORRUPTIONS) == imagecorruptions.get_corruption_names()
    assert list(EXTRA_CORRUPTIONS) == imagecorruptions.get_corruption_names(
        'validation'
    )


@pytest.mark.parametrize('corruption', ['contrast', 'defocus_blur', 'pixelate'])
def test_pixels_are_the_package_s(corruption):
    image = make_image()
    expected = imagecorruptions.corrupt(image, 4, corruption)
    assert (corrupt_image(image, corruption, 4, key='a') == expected).all()


def change_hsv(x, channel, scale, shift):
    hsv = rgb2hsv(x)
    hsv[..., channel] = np.clip(hsv[..., channel] * scale + shift, 0, 1)
    return hsv2rgb(hsv)


def compress(x, quality):
    file = BytesIO()
    Image.fromarray(np.uint8(np.round(x * 255))).save(file, 'JPEG', quality=quality)
    return np.asarray(Image.open(file)) / 255


def pixelate(x, scale):
    image = Image.fromarray(np.uint8(np.round(x * 255)))
    size = [int(side * scale) for side in image.size]
    small = image.resize(size, Image.BOX)
    return np.asarray(small.resize(image.size, Image.BOX)) / 255


# Hendrycks & Dietterich 2019: the functions that ImageNet-C was made with, of an image
# in [0, 1], and their strengths at the five severities.
PUBLISHED = {
    'gaussian_noise': (
        lambda x, c: x + np.random.normal(size=x.shape, scale=c),
        (0.08, 0.12, 0.18, 0.26, 0.38),
    ),
    'shot_noise': (lambda x, c: np.random.poisson(x * c) / c, (60, 25, 12, 5, 3)),
    'speckle_noise': (
        lambda x, c: x + x * np.random.normal(size=x.shape, scale=c),
        (0.15, 0.2, 0.35, 0.45, 0.6),
    ),
    'gaussian_blur': (
        lambda x, c: gaussian(x, sigma=c, channel_axis=-1),
        (1, 2, 3, 4, 6),
    ),
    'contrast': (
        lambda x, c: (x - x.mean((0, 1))) * c + x.mean((0, 1)),
        (0.4, 0.3, 0.2, 0.1, 0.05),
    ),
    'brightness': (
        lambda x, c: change_hsv(x, 2, 1, c),
        (0.1, 0.2, 0.3, 0.4, 0.5),
    ),
    'saturate': (
        lambda x, c: change_hsv(x, 1, *c),
        ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    ),
    'jpeg_compression': (compress, (25, 18, 15, 10, 7)),
    'pixelate': (pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
}


@pytest.mark.parametrize('corruption', PUBLISHED)
def test_package_computes_the_published_functions(corruption):
    function, strengths = PUBLISHED[corruption]
    image = make_image(64, 64)
    for severity, strength in enumerate(strengths, 1):
        np.random.seed(3)
        actual = imagecorruptions.corrupt(image, severity, corruption)
        np.random.seed(3)
        expected = np.clip(function(image / 255, strength), 0, 1) * 255
        # Both cut off what is behind the point.
        assert abs(actual.astype(int) - expected).max() <= 1, severity


@pytest.mark.parametrize(
    'corruption', ['gaussian_noise', 'impulse_noise', 'glass_blur']
)
def test_noise_depends_on_image_name_severity_and_seed(corruption):
    image = make_image()
    results = [
        corrupt_image(image, corruption, severity, key, seed).tobytes()
        for severity, key, seed in [(3, 'a', 0), (3, 'b', 0), (3, 'a', 1), (4, 'a', 0)]
    ]
    assert len(set(results)) == 4


def test_global_random_state_is_left_alone():
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    corrupt_image(make_image(), 'shot_noise', 2, key='a')
    assert np.random.random() == expected


def test_another_process_gives_the_same_pixels():
    script = (
        'import hashlib, sys\n'
        'sys.path.insert(0, sys.argv[1])\n'
        'from test_imagenet_corruptions import fingerprint_all\n'
        'print(fingerprint_all())\n'
    )
    process = subprocess.run(
        [sys.executable, '-c', script, __file__.rpartition('/')[0]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == fingerprint_all()


def fingerprint_all():
    import hashlib

    digest = hashlib.sha256()
    for corruption in ALL:
        digest.update(corrupt_image(make_image(), corruption, 3, key='a').tobytes())
    return digest.hexdigest()


# ---------------------------------------------------------------------- the transform


def test_transform_corrupts_what_mmcv_loads():
    image = make_image()
    bgr = np.ascontiguousarray(image[..., ::-1])
    results = dict(img=bgr, img_path='/data/n01440764/x.JPEG')
    with DefaultScope.overwrite_default_scope('mmseg'):
        pipeline = Compose([dict(type='mmdcls.Corrupt', corruption='snow', severity=3)])
        corrupted = pipeline(results)['img'][..., ::-1]
    expected = corrupt_image(image, 'snow', 3, key='n01440764/x.JPEG')
    assert (corrupted == expected).all()


def test_transform_of_rgb_images():
    image = make_image()
    transform = Corrupt('saturate', 5, channel_order='rgb')
    corrupted = transform(dict(img=image, img_path='x.png'))['img']
    assert (corrupted == corrupt_image(image, 'saturate', 5, key='x.png')).all()


def test_transform_does_not_depend_on_where_the_data_lie():
    transform = Corrupt('gaussian_noise', 3)
    results = [
        transform(dict(img=make_image(), img_path=f'{root}/n01440764/x.JPEG'))['img']
        for root in ('/a', '/b/c')
    ]
    assert (results[0] == results[1]).all()


# -------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('rain', 1), "corruption='rain' must be one of gaussian_noise"),
        (('fog', 6), 'severity=6 must be one of 1, 2, 3, 4, 5'),
        (('fog', 1, 0, None, 'hsv'), "channel_order='hsv' must be 'bgr' or 'rgb'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Corrupt(*arguments)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (make_image().astype(np.float32), 'must be uint8 .* got float32'),
        (make_image()[..., 0], 'got uint8 of shape'),
        (make_image(31, 50), 'x.jpg has 50x31'),
    ],
    ids=['float', 'grey', 'small'],
)
def test_bad_images(image, message):
    with pytest.raises(ValueError, match=message):
        corrupt_image(image, 'fog', 1, key='x.jpg')


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'imagecorruptions', None)
    with pytest.raises(ImportError, match=r'pip install mmdcls\[robustness\]'):
        Corrupt('fog', 1)
