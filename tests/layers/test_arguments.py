import pytest
import torch
from mmcv.cnn import ConvModule, build_conv_layer
from mmengine.registry import DefaultScope
from torch import nn

from mmdcls.layers import DCLSConv1d, DCLSConv2_1d, DCLSConv2d, DCLSConv3_2d
from mmdcls.layers.arguments import size_keeping_padding
from mmdcls.registry import MODELS

NAMES = (
    'DCLSConv1d',
    'DCLSConv2d',
    'DCLSConv3d',
    'DCLSConv2_1d',
    'DCLSConv3_1d',
    'DCLSConv3_2d',
)


@pytest.mark.parametrize('scope', ['mmengine', 'mmseg', 'mmdet', 'mmpretrain'])
@pytest.mark.parametrize('name', NAMES)
def test_built_by_mmcv_in_any_scope(name, scope):
    dimensions = int(name.removeprefix('DCLSConv')[0])
    plain = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1](2, 4, 3, padding=1)
    with DefaultScope.overwrite_default_scope(scope):
        layer = build_conv_layer(
            {'type': f'mmdcls.{name}', 'kernel_count': 4, 'dilated_kernel_size': 5},
            2,
            4,
            3,
            padding=1,
        )
    assert type(layer).__name__ == name
    x = torch.randn(1, 2, *(8,) * dimensions)
    assert layer(x).shape == plain(x).shape
    assert MODELS.get(name) is type(layer)


@pytest.mark.parametrize('by_class', [False, True], ids=['name', 'class'])
@pytest.mark.parametrize('kernel_size', [1, 3, 5, (3, 5)])
@pytest.mark.parametrize('dilation', [1, 2])
@pytest.mark.parametrize('stride', [1, 2, (2, 3)])
def test_output_size_is_that_of_the_convolution_replaced(
    kernel_size, dilation, stride, by_class
):
    options = {'stride': stride, 'padding': 1, 'dilation': dilation, 'groups': 2}
    plain = ConvModule(4, 6, kernel_size, **options)
    module = ConvModule(
        4,
        6,
        kernel_size,
        conv_cfg={
            'type': DCLSConv2d if by_class else 'mmdcls.DCLSConv2d',
            'kernel_count': 4,
            'dilated_kernel_size': 9,
        },
        **options,
    )
    assert isinstance(module.conv, DCLSConv2d)
    for size in (15, 16, 17, 18):
        x = torch.randn(1, 4, size, size + 3)
        assert module(x).shape == plain(x).shape


def test_other_ways_to_name_the_replaced_convolution():
    cfg = {'type': 'mmdcls.DCLSConv2d', 'kernel_count': 4, 'dilated_kernel_size': 9}
    for layer in (
        build_conv_layer(cfg, 4, 6, 3, 2, 1, 1, 2, False),
        build_conv_layer(cfg, 4, 6, kernel_size=3, stride=2, padding=1, groups=2),
        MODELS.build(
            {
                **cfg,
                'in_channels': 4,
                'out_channels': 6,
                'kernel_size': 3,
                'stride': 2,
                'padding': 1,
                'groups': 2,
            }
        ),
    ):
        assert (layer.padding, layer.stride, layer.groups) == ((4, 4), (2, 2), 2)
    for padding in ('same', 'valid'):
        layer = build_conv_layer(cfg, 4, 6, 3, padding=padding)
        plain = nn.Conv2d(4, 6, 3, padding=padding)
        x = torch.randn(1, 4, 12, 12)
        assert layer(x).shape == plain(x).shape


def test_conv_module_keeps_the_initial_weight():
    """kaiming_init would make it larger by 6 ** .5, and zero the bias."""
    torch.manual_seed(0)
    module = ConvModule(
        32,
        64,
        3,
        padding=1,
        conv_cfg={
            'type': 'mmdcls.DCLSConv2d',
            'kernel_count': 9,
            'dilated_kernel_size': 7,
        },
    )
    assert module.conv.weight.abs().max() <= 1 / (32 * 9) ** 0.5
    assert module.conv.bias.abs().max() > 0
    assert module.kernel_size == (7, 7)


@pytest.mark.parametrize('training', [True, False])
def test_normalisation_folds_into_the_weight(training):
    torch.manual_seed(0)
    options = {
        'padding': 1,
        'groups': 4,
        'norm_cfg': {'type': 'BN'},
        'conv_cfg': {
            'type': 'mmdcls.DCLSConv2d',
            'kernel_count': 4,
            'dilated_kernel_size': 7,
        },
    }
    module = ConvModule(4, 4, 3, **options).train(training)
    module.bn.running_mean.normal_()
    module.bn.running_var.uniform_(0.5, 2)
    module.bn.eval()
    fast = ConvModule(4, 4, 3, efficient_conv_bn_eval=True, **options)
    fast.load_state_dict(module.state_dict())
    fast.train(training).bn.eval()
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(fast(x), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [(((17,), (7,), (1,), (3,)), (8,)), (((4,), (2,), (1,), (0,)), (1,))],
)
def test_size_keeping_padding(arguments, expected):
    assert size_keeping_padding(*arguments) == expected


GOOD = {'in_channels': 4, 'out_channels': 8, 'kernel_count': 3}
GOOD['dilated_kernel_size'] = 5


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'dilated_kernel_size': 0}, 'dilated_kernel_size=0 .*at least 1'),
        ({'dilated_kernel_size': (5, -1)}, r'dilated_kernel_size=\(5, -1\)'),
        ({'dilated_kernel_size': (5, 5, 5)}, 'must be an integer or 2 integers'),
        ({'dilated_kernel_size': 5.5}, 'dilated_kernel_size=5.5'),
        ({'kernel_count': 0}, 'kernel_count=0 .*at least 1'),
        ({'in_channels': 0}, 'in_channels=0'),
        ({'groups': 3}, 'in_channels=4 is not divisible by groups=3'),
        ({'groups': 0}, 'groups=0'),
        ({'in_channels': 6, 'groups': 3}, 'out_channels=8 is not divisible by groups'),
        ({'stride': 0}, 'stride=0'),
        ({'padding': -1}, 'padding=-1'),
        ({'padding': 'full'}, "padding='full'.*'same', 'valid'"),
        ({'padding': 'same', 'stride': 2}, "padding='same' needs stride 1"),
        ({'padding_mode': 'mirror'}, "padding_mode='mirror'.*'circular'"),
        ({'interpolation': 'cubic'}, "interpolation='cubic'.*'gaussian'"),
        ({'position_init': 'zeros'}, "position_init='zeros'.*'uniform'"),
        ({'backend': 'nope'}, "backend='nope'.*'auto'"),
        ({'backend': 'aten'}, "backend='aten' is for depthwise 2D"),
        ({'dilation': 2}, 'learns its spacings'),
        ({'dense_kernel_size': 3}, 'dense_kernel_size=3 has no meaning'),
        ({'positions': torch.nn.Parameter(torch.zeros(2, 8, 4, 2))}, 'needs'),
        ({'kernel_size': 4}, 'must both be odd|both must be odd'),
        ({'kernel_size': 7}, 'too small.*must be at least 7'),
        (
            {
                'positions': torch.nn.Parameter(torch.zeros(2, 8, 4, 3)),
                'deploy': True,
            },
            'deploy=True',
        ),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DCLSConv2d(**{**GOOD, **options})


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match='int64'):
        DCLSConv2d(**GOOD, dtype=torch.int64)
    with pytest.raises(TypeError, match='Tensor, not a Parameter'):
        DCLSConv2d(**GOOD, positions=torch.zeros(2, 8, 4, 3))


def test_even_size_in_place_of_an_odd_one_is_refused_by_name():
    with pytest.raises(ValueError, match='dilated_kernel_size=16.*spans 7'):
        ConvModule(
            4,
            4,
            7,
            padding=3,
            conv_cfg={
                'type': 'mmdcls.DCLSConv2d',
                'kernel_count': 4,
                'dilated_kernel_size': 16,
            },
        )


def test_dense_axes_count_for_the_output_size():
    layer = DCLSConv2_1d(
        4, 4, 3, 9, dense_kernel_size=5, kernel_size=(3, 7), padding=(1, 3)
    )
    assert layer.padding == (2, 4)
    layer = DCLSConv3_2d(4, 4, 3, 9, dense_kernel_size=1, kernel_size=3, padding=1)
    assert layer.padding == (0, 4, 4)


def test_positional_call_is_ours():
    layer = DCLSConv1d(4, 4, 3, 9)
    assert (layer.kernel_count, layer.dilated_kernel_size) == (3, (9,))
