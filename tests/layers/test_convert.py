import copy

import pytest
import torch
from helpers.tolerances import assert_close
from mmpretrain.models import ConvNeXt, ResNet
from torch import nn

import mmdcls
from mmdcls.layers import (
    DCLSConv2_1d,
    DCLSConv2d,
    DCLSConvNd,
    iter_dcls_layers,
    named_dcls_layers,
)
from mmdcls.layers.convert import convert_to_dcls, convert_to_plain


class Net(nn.Module):
    """Convolutions of many kinds, one of them used twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.stage = nn.Sequential(
            nn.Conv2d(8, 8, 7, padding=3, groups=8),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False),
        )
        self.strided = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=8)
        self.same = nn.Conv2d(
            16, 16, (3, 5), padding='same', padding_mode='circular', groups=16
        )
        self.shared = self.same

    def forward(self, x):
        return self.shared(self.same(self.strided(self.stage(self.stem(x)))))


X = torch.randn(2, 3, 32, 36, generator=torch.Generator().manual_seed(0)).double()


def test_is_found_in_the_package():
    assert mmdcls.convert_to_dcls is convert_to_dcls
    assert set(mmdcls.__all__) == {'__version__', 'convert_to_dcls'}
    unknown = 'convert'
    with pytest.raises(AttributeError, match="'mmdcls' has no attribute 'convert'"):
        getattr(mmdcls, unknown)


def test_depthwise_convolutions_are_the_default():
    model = Net()
    assert convert_to_dcls(model, dilated_kernel_size=9, kernel_count=5) is model
    names = [name for name, _ in named_dcls_layers(model)]
    assert names == ['stage.0', 'stage.2', 'strided', 'same']
    assert model.shared is model.same
    assert model(X.float()).shape == Net()(X.float()).shape
    assert model.stage[2].bias is None
    assert {layer.kernel_count for layer in iter_dcls_layers(model)} == {5}


def test_dtype_device_and_mode_are_kept():
    model = Net().double().eval()
    model.stage[0].train()
    convert_to_dcls(model, dilated_kernel_size=9, kernel_count=5)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert model.stage[0].training and not model.same.training
    meta = convert_to_dcls(Net().to('meta'), dilated_kernel_size=9, kernel_count=5)
    assert meta.same.positions.device.type == 'meta'


@pytest.mark.parametrize(
    'select',
    [None, '', lambda name, module: True],
    ids=['depthwise', 'pattern', 'function'],
)
def test_reproduces_the_model(select):
    model = Net().double()
    expected = model(X)
    convert_to_dcls(model, select=select, dilated_kernel_size=9, reproduce=True)
    assert_close(model(X), expected, 'output')
    if select is not None:
        assert not any(type(module) is nn.Conv2d for module in model.modules())


@pytest.mark.parametrize(('size', 'kernel'), [(8, 4), (9, 3), (4, 4)])
@pytest.mark.parametrize('padding', [0, 1, 'same', 'valid'])
@pytest.mark.parametrize(
    ('cls', 'dimensions'), [(nn.Conv1d, 1), (nn.Conv2d, 2), (nn.Conv3d, 3)]
)
def test_reproduces_every_kind_of_convolution(cls, dimensions, size, kernel, padding):
    plain = cls(2, 4, kernel, padding=padding, groups=2, dtype=torch.float64)
    x = torch.randn(1, 2, *(13,) * dimensions, dtype=torch.float64)
    padding_needed = (size - kernel) // 2
    if padding == 'valid' or padding == 0:
        assert padding_needed >= 0
    layer = convert_to_dcls(plain, select='', dilated_kernel_size=size, reproduce=True)
    assert isinstance(layer, DCLSConvNd)
    assert_close(layer(x), plain(x), 'output')


def test_positions_shared_per_stage():
    model = ConvNeXt({'depths': [2, 2, 2, 2], 'channels': [8, 16, 16, 24]})
    convert_to_dcls(
        model,
        dilated_kernel_size=11,
        kernel_count=6,
        share_positions='stage',
    )
    layers = list(iter_dcls_layers(model))
    assert len(layers) == 8
    groups = {}
    for layer in layers:
        groups.setdefault(id(layer.positions), []).append(layer.in_channels)
    assert list(groups.values()) == [[8, 8], [16, 16, 16, 16], [24, 24]]
    out = model(torch.randn(1, 3, 32, 32))
    out[-1].sum().backward()
    assert all(layer.positions.grad is not None for layer in layers)


def test_positions_shared_by_key():
    model = ConvNeXt({'depths': [2, 2, 2, 2], 'channels': [8, 16, 16, 24]})
    convert_to_dcls(
        model,
        dilated_kernel_size=11,
        kernel_count=6,
        share_positions=lambda name, _: name.split('.')[1],
    )
    owners = {}
    for name, layer in named_dcls_layers(model):
        owners.setdefault(id(layer.positions), set()).add(name.split('.')[1])
    assert list(owners.values()) == [{'0'}, {'1'}, {'2'}, {'3'}]


def test_key_none_is_not_shared():
    model = Net()
    convert_to_dcls(
        model,
        dilated_kernel_size=9,
        kernel_count=5,
        share_positions=lambda name, _: 'stage' if 'stage' in name else None,
    )
    assert model.stage[0].positions is model.stage[2].positions
    assert model.strided.positions is not model.same.positions


def test_all_3x3_convolutions_of_a_resnet_stage_share():
    model = ResNet(18, out_indices=(3,))
    expected = model(torch.randn(1, 3, 64, 64))[0].shape
    convert_to_dcls(
        model,
        select=r'layer\d\.\d\.conv\d',
        dilated_kernel_size=7,
        kernel_count=4,
        share_positions='stage',
    )
    assert model(torch.randn(1, 3, 64, 64))[0].shape == expected
    shared = {id(layer.positions) for layer in iter_dcls_layers(model)}
    assert len(list(iter_dcls_layers(model))) == 16
    # The first convolution of a stage has the channels of the stage before.
    assert len(shared) == 1 + 3 * 2


def test_shared_positions_reproduce_where_grids_agree():
    model = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 3, padding=1, groups=8)
    ).double()
    x = torch.randn(1, 8, 9, 9).double()
    expected = model(x)
    options = {'dilated_kernel_size': 7, 'reproduce': True, 'share_positions': 'stage'}
    dilated = copy.deepcopy(model)
    dilated[1].dilation = (2, 2)
    convert_to_dcls(model, **options)
    assert model[0].positions is model[1].positions
    assert_close(model(x), expected, 'output')
    with pytest.raises(ValueError, match='1: .*equal grids'):
        convert_to_dcls(dilated, **options)


def test_classes_with_their_own_forward_are_left_alone():
    class Own(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + 1

    model = nn.Sequential(Own(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3, groups=4))
    convert_to_dcls(model, dilated_kernel_size=5, kernel_count=3)
    assert type(model[0]) is Own and type(model[1]) is DCLSConv2d


def _names(value):
    """A test's id without the address of a function in it."""
    return value if isinstance(value, str) else '-'.join(value)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'select': 'nothing'}, "select='nothing' chooses none of the 6 plain"),
        ({'kernel_count': None}, 'kernel_count=None'),
        ({'kernel_count': 0}, 'stage.0: kernel_count=0'),
        ({'dilated_kernel_size': 8}, 'stage.0: dilated_kernel_size=8.*spans 7'),
        ({'dilated_kernel_size': 0}, 'stage.0: dilated_kernel_size=0'),
        ({'reproduce': True}, 'stage.0: kernel_count=5.*must be 49'),
        (
            {'reproduce': True, 'kernel_count': None, 'dilated_kernel_size': 5},
            'stage.0: dilated_kernel_size=5.*spans 7',
        ),
        ({'reproduce': True, 'interpolation': 'gaussian'}, "needs.*'bilinear'"),
        ({'interpolation': 'cubic'}, "interpolation='cubic'"),
        ({'share_positions': 'model'}, "share_positions='model'.*'stage'"),
        ({'share_positions': lambda *_: 0}, 'same: positions|strided: positions'),
    ],
    ids=_names,
)
def test_bad_arguments_are_refused_and_leave_the_model_as_it_was(options, message):
    model = Net()
    arguments = {'dilated_kernel_size': 9, 'kernel_count': 5, **options}
    with pytest.raises(ValueError, match=message):
        convert_to_dcls(model, **arguments)
    assert not list(iter_dcls_layers(model))


def test_back_to_plain_convolutions_of_equal_outputs():
    model = Net().double().eval()
    convert_to_dcls(model, dilated_kernel_size=9, kernel_count=5)
    expected = model(X)
    model.strided.switch_to_deploy()  # Folded layers are swapped too.
    model.stage[0].train()
    assert convert_to_plain(model) is model
    assert not any(isinstance(module, DCLSConvNd) for module in model.modules())
    assert type(model.same) is nn.Conv2d and model.shared is model.same
    assert model.stage[2].bias is None
    assert model.stage[0].training and not model.same.training
    assert_close(model(X), expected, 'output')


def test_a_layer_itself_becomes_a_plain_convolution():
    layer = DCLSConv2_1d(4, 6, kernel_count=3, dilated_kernel_size=7, groups=2)
    x = torch.randn(1, 4, 9, 9)
    expected = layer(x)
    plain = convert_to_plain(layer)
    assert type(plain) is nn.Conv2d and plain.kernel_size == (1, 7)
    assert_close(plain(x), expected, 'output')
