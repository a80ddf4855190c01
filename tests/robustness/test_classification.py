"""What a classifier's cells are made of, for configs of mmpretrain's own."""

import pytest
from mmengine.config import Config
from mmengine.hub import get_config

from mmdcls.errors import ConfigError
from mmdcls.robustness import Cell
from mmdcls.robustness.classification import Classification

CONVNEXT = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'
RESNET_A3 = 'mmpretrain::resnet/resnet50_8xb256-rsb-a3-100e_in1k.py'
SWIN_384 = 'mmpretrain::swin_transformer/swin-base_16xb64_in1k-384px.py'
EFFICIENTNET = 'mmpretrain::efficientnet/efficientnet-b1_8xb32_in1k.py'


def steps(config, cell, **kwargs):
    """A cell's transforms between loading and packing: type, size, interpolation."""
    task = Classification(get_config(config), 1000, **kwargs)
    load, *sizing, pack = task.dataset(cell)['pipeline']
    assert (load['type'], pack['type']) == ('mmdcls.LoadImageOrMark', 'PackInputs')
    assert pack['meta_keys'] == ('img_path', 'unreadable')
    return [
        (
            step['type'].rpartition('.')[2],
            step.get('scale', step.get('crop_size', step.get('severity'))),
            step.get('interpolation'),
        )
        for step in sizing
    ]


@pytest.mark.parametrize(
    'config, expected',
    [
        (CONVNEXT, [('ResizeEdge', 256, 'bicubic'), ('CenterCrop', 224, None)]),
        (RESNET_A3, [('ResizeEdge', 236, 'bicubic'), ('CenterCrop', 224, None)]),
        (SWIN_384, [('Resize', 384, 'bicubic')]),
        (EFFICIENTNET, [('EfficientNetCenterCrop', 240, None)]),
    ],
)
def test_clean_images_take_the_configs_own_way(config, expected):
    assert steps(config, Cell('clean')) == expected


@pytest.mark.parametrize(
    'config, size, scale',
    [
        (CONVNEXT, 224, 256),
        (RESNET_A3, 224, 256),
        (SWIN_384, 384, 439),
        (EFFICIENTNET, 240, 274),
    ],
)
def test_others_take_the_published_way(config, size, scale):
    resized = [('ResizeEdge', scale, 'bicubic'), ('CenterCrop', size, None)]
    for benchmark in ('a', 'r', 'sketch'):
        assert steps(config, Cell(benchmark)) == resized
    cropped = [('CenterCrop', size, None)]
    if size != 224:
        cropped.insert(0, ('ResizeEdge', size, 'bicubic'))
    for cell in (Cell('c', 'fog', 2), Cell('cbar', 'sparkles', 5)):
        assert steps(config, cell) == cropped
    # As the files of ImageNet-C were made: before the corruption, with bilinear.
    assert steps(config, Cell('c', 'fog', 2), on_the_fly=True) == [
        ('ResizeEdge', scale, 'bilinear'),
        ('CenterCrop', size, None),
        ('Corrupt', 2, None),
    ]


def test_input_size_overrides_the_config():
    expected = [('ResizeEdge', 183, 'bicubic'), ('CenterCrop', 160, None)]
    for cell in (Cell('clean'), Cell('sketch')):
        assert steps(RESNET_A3, cell, input_size=160) == expected


@pytest.mark.parametrize(
    'pipeline, message',
    [
        ([], 'no test_dataloader.dataset.pipeline'),
        ([dict(type='PackInputs')], 'give .input_size.'),
        ([dict(type='CenterCrop', crop_size=(224, 192))], 'give .input_size.'),
    ],
    ids=['none', 'no size', 'not square'],
)
def test_pipelines_without_a_size(pipeline, message):
    cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    with pytest.raises(ConfigError, match=message):
        Classification(cfg, 1000)
