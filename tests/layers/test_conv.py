import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from helpers.released import (
    CLASSES,
    make_released,
    released_gradients,
    released_version,
)
from helpers.tolerances import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmdcls.layers import (
    DCLSConv1d,
    DCLSConv2_1d,
    DCLSConv2d,
    DCLSConv3_1d,
    DCLSConv3_2d,
    DCLSConv3d,
    named_dcls_layers,
)
from mmdcls.ops import reference

LAYERS = [
    DCLSConv1d,
    DCLSConv2d,
    DCLSConv3d,
    DCLSConv2_1d,
    DCLSConv3_1d,
    DCLSConv3_2d,
]
PLAIN = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
INTERPOLATIONS = ('bilinear', 'triangle', 'gaussian')


def make_layer(cls, *args, seed=0, **kwargs):
    """A float64 layer whose positions reach all over and beyond the kernel."""
    torch.manual_seed(seed)
    layer = cls(*args, dtype=torch.float64, position_init='uniform', **kwargs)
    with torch.no_grad():
        layer.positions.mul_(1.2)
        if layer.sigma is not None:
            layer.sigma.normal_()
    return layer


def make_input(layer, size=9, batch=2, seed=1):
    torch.manual_seed(seed)
    shape = (batch, layer.in_channels, *(size,) * layer.spatial_dimensions)
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def run(module, x):
    """The output, and the gradient of x; those of the parameters are left on them."""
    x = x.detach().clone().requires_grad_()
    module.zero_grad()
    out = module(x)
    torch.manual_seed(2)
    out.backward(torch.randn(out.shape, dtype=out.dtype))
    return out.detach(), x.grad


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize(
    'options',
    [
        {'groups': 4, 'padding': 2},
        {'groups': 2, 'padding': 1, 'stride': 2, 'bias': False},
        {'groups': 1, 'padding': 2, 'padding_mode': 'circular'},
    ],
    ids=['depthwise', 'strided', 'circular'],
)
@pytest.mark.parametrize('cls', CLASSES, ids=lambda cls: cls.__name__)
def test_equals_the_released_package(cls, options, interpolation):
    layer = make_layer(cls, 4, 4, 3, 5, interpolation=interpolation, **options)
    released = make_released(layer)
    x = make_input(layer)
    # The kernel of version v1 is bilinear, and normalised to 1 / (1 + 1e-7) as long as
    # no weight falls outside of it.
    scale = 1.0
    if released_version(layer) == 'v1':
        with torch.no_grad():
            layer.positions.clamp_(-1.9, 1.9)
        released = make_released(layer)
        with torch.no_grad():
            released.weight.mul_(1 + 1e-7)
        scale = 1 + 1e-7
    out, grad_x = run(layer, x)
    expected, expected_grad_x = run(released, x)
    assert_close(out, expected, 'output')
    assert_close(grad_x, expected_grad_x, 'gradient')
    gradients = released_gradients(layer, released)
    gradients['weight'] = gradients['weight'] * scale
    assert gradients.keys() == dict(layer.named_parameters()).keys()
    for name, parameter in layer.named_parameters():
        assert_close(parameter.grad, gradients[name], 'gradient', msg=name)


@pytest.mark.parametrize('size', [(3, 6), (4, 4)], ids=str)
def test_equals_the_released_2d_package_for_any_size(size):
    layer = make_layer(DCLSConv2d, 4, 6, 5, size, padding=(1, 2), groups=2)
    x = make_input(layer)
    assert_close(run(layer, x)[0], run(make_released(layer), x)[0], 'output')


def test_positions_far_beyond_the_kernel_are_taken_as_they_are():
    layer = make_layer(DCLSConv2d, 4, 4, 9, 17, padding=8, groups=4)
    with torch.no_grad():
        layer.positions.normal_(0, 7)
    assert ((layer.positions.abs() > 8) & (layer.positions.abs() < 9)).any()
    assert (layer.positions.abs() > 9).any()
    released = make_released(layer)
    x = make_input(layer, size=20)
    expected, expected_grad_x = run(released, x)
    out, grad_x = run(layer, x)
    assert_close(out, expected, 'output')
    assert_close(grad_x, expected_grad_x, 'gradient')
    for name, gradient in released_gradients(layer, released).items():
        assert_close(getattr(layer, name).grad, gradient, 'gradient', msg=name)
    with torch.no_grad():
        assert_close(layer.eval()(x), expected, 'output')
        layer.switch_to_deploy()
        assert_close(layer(x), expected, 'output')


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize(
    ('cls', 'dense', 'size', 'padding'),
    [
        (DCLSConv1d, 1, 4, 1),
        (DCLSConv2d, 1, (3, 4), 1),
        (DCLSConv3d, 1, (3, 4, 2), 1),
        (DCLSConv2_1d, 3, 4, (1, 2)),
        (DCLSConv3_1d, (3, 2), 5, (1, 1, 2)),
        (DCLSConv3_2d, 3, (2, 5), (1, 1, 2)),
    ],
)
def test_equals_the_reference(cls, dense, size, padding, interpolation):
    layer = make_layer(
        cls,
        4,
        6,
        3,
        size,
        padding=padding,
        groups=2,
        interpolation=interpolation,
        dense_kernel_size=dense,
    )
    x = make_input(layer, size=6)
    kernel = reference.construct_kernel(
        layer.weight,
        layer.positions,
        layer.dilated_kernel_size,
        interpolation=interpolation,
        sigma=layer.sigma,
    )
    assert tuple(kernel.shape[2:]) == layer.kernel_size
    convolution = (F.conv1d, F.conv2d, F.conv3d)[layer.spatial_dimensions - 1]
    expected = convolution(x, kernel, layer.bias, padding=padding, groups=2)
    out = layer(x)
    assert_close(out, expected, 'output')
    inputs = [x, *layer.parameters()]
    weights = torch.randn_like(out)
    for one, other in zip(
        torch.autograd.grad(out, inputs, weights),
        torch.autograd.grad(expected, inputs, weights),
        strict=True,
    ):
        assert_close(one, other, 'gradient')


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('cls', LAYERS, ids=lambda cls: cls.__name__)
def test_gradcheck(cls, interpolation):
    torch.manual_seed(0)
    layer = cls(2, 2, 2, 3, padding=1, groups=2, interpolation=interpolation)
    layer = layer.double()
    with torch.no_grad():  # away from integers, where a hat is not smooth
        layer.positions.uniform_(0.1, 0.9)
        layer.positions.sub_(torch.randint_like(layer.positions, 2))
        if layer.sigma is not None:
            layer.sigma.uniform_(0.2, 0.4)
    x = make_input(layer, size=3, batch=1)
    names = [name for name, _ in layer.named_parameters()]

    def call(x, *parameters):
        parameters = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, parameters, x)

    assert torch.autograd.gradcheck(call, (x, *layer.parameters()))


@pytest.mark.parametrize('cls', [DCLSConv1d, DCLSConv2d, DCLSConv3d])
@settings(deadline=None, max_examples=10)
@given(
    kernel_size=st.integers(1, 3),
    dilation=st.integers(1, 3),
    margin=st.integers(0, 2),
    groups=st.sampled_from([1, 2, 4]),
)
def test_elements_on_a_grid_are_a_dilated_convolution(
    cls, kernel_size, dilation, margin, groups
):
    dimensions = cls.spatial_dimensions
    reach = dilation * (kernel_size - 1) / 2
    size = dilation * (kernel_size - 1) + 1 + 2 * margin
    plain = PLAIN[dimensions](
        4, 4, kernel_size, dilation=dilation, groups=groups, dtype=torch.float64
    )
    layer = cls(4, 4, kernel_size**dimensions, size, groups=groups, dtype=torch.float64)
    axis = torch.arange(kernel_size) * dilation + margin - size // 2
    assert axis[-1] - axis[0] == 2 * reach
    grid = torch.stack(torch.meshgrid(*[axis] * dimensions, indexing='ij'))
    with torch.no_grad():
        layer.positions.copy_(grid.flatten(1)[:, None, None].expand_as(layer.positions))
        layer.weight.copy_(plain.weight.flatten(2))
        layer.bias.copy_(plain.bias)
    x = make_input(layer, size=11)
    inner = x[(..., *[slice(margin, 11 - margin)] * dimensions)]
    assert_close(layer(x), plain(inner), 'output')


@pytest.mark.parametrize('cls', LAYERS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    'options',
    [
        {'padding': 'same'},
        {'padding': 'valid', 'stride': 2},
        {'padding': 'same', 'padding_mode': 'reflect'},
        {'padding': 2, 'padding_mode': 'replicate', 'stride': 2},
        {'padding': 1, 'padding_mode': 'circular', 'bias': False},
        {'padding': 3, 'groups': 4},
    ],
    ids=str,
)
@pytest.mark.parametrize('size', [3, 4, 5])
def test_folded_is_the_plain_convolution(cls, options, size):
    layer = make_layer(cls, 4, 8, 3, size, **options)
    x = make_input(layer)
    expected, expected_grad_x = run(layer, x)
    layer.switch_to_deploy()
    plain = PLAIN[cls.spatial_dimensions](
        4, 8, layer.kernel_size, dtype=torch.float64, **options
    )
    plain.load_state_dict(layer.state_dict())
    again = cls(4, 8, 3, size, dtype=torch.float64, deploy=True, **options)
    again.load_state_dict(plain.state_dict())
    for module in (layer, plain, again):
        out, grad_x = run(module, x)
        assert_close(out, expected, 'output')
        assert_close(grad_x, expected_grad_x, 'gradient')
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_unbatched_input():
    layer = make_layer(DCLSConv2d, 4, 4, 3, 5, padding=2, groups=4)
    x = make_input(layer)
    assert_close(layer(x[0]), layer(x)[0], 'output')


@pytest.mark.parametrize('cls', LAYERS, ids=lambda cls: cls.__name__)
def test_initial_values_are_those_of_the_paper(cls):
    torch.manual_seed(0)
    layer = cls(32, 64, 9, 11, interpolation='gaussian')
    assert layer.positions.std().item() == pytest.approx(0.5, rel=0.05)
    assert (layer.sigma == 0.23).all()
    bound = 1 / (32 * 9) ** 0.5
    assert bound * 0.95 < layer.weight.abs().max() <= bound
    assert layer.bias.abs().max() <= bound
    uniform = cls(32, 64, 9, 11, position_init='uniform', interpolation='triangle')
    assert uniform.positions.std().item() == pytest.approx(10 / 12**0.5, rel=0.05)
    assert uniform.positions.abs().max() <= 5
    assert (uniform.sigma == 0).all()


@pytest.mark.parametrize('size', [(1, 4), (5, 17)], ids=str)
def test_clamp_positions(size):
    layer = DCLSConv2d(2, 2, 3, size)
    with torch.no_grad():
        layer.positions.copy_(
            torch.linspace(-20, 20, layer.positions.numel()).view(layer.positions.shape)
        )
    before = layer.positions.detach().clone()
    layer.clamp_positions()
    for axis, limit in enumerate((size[0] // 2, size[1] // 2)):
        assert torch.equal(layer.positions[axis], before[axis].clamp(-limit, limit))


def test_nan_positions_are_an_error_where_it_is_cheap():
    layer = DCLSConv2d(2, 2, 3, 5, groups=2)
    with torch.no_grad():
        layer.positions[0, 0, 0, 0] = float('nan')
    with pytest.raises(ValueError, match='positions are NaN'):
        layer.clamp_positions()
    x = torch.randn(1, 2, 8, 8)
    assert layer(x)[0, 0].isnan().any()
    with torch.no_grad(), pytest.raises(ValueError, match='positions are NaN'):
        layer.eval()(x)


def test_shared_positions_are_one_parameter():
    first = DCLSConv2d(4, 4, 3, 5, groups=4, interpolation='gaussian')
    before = first.positions.detach().clone()
    second = DCLSConv2d(4, 4, 3, 5, groups=4, positions=first.positions)
    assert second.positions is first.positions
    assert torch.equal(first.positions, before)
    model = nn.Sequential(first, second)
    assert sum(name.endswith('positions') for name, _ in model.named_parameters()) == 1
    assert sum(name.endswith('positions') for name in model.state_dict()) == 2
    second.switch_to_deploy()
    assert first.positions is not None and second.positions is None
    assert dict(named_dcls_layers(model)) == {'0': first}


@pytest.mark.parametrize(
    'duplicate',
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=['deepcopy', 'pickle'],
)
@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_duplicates(duplicate, interpolation):
    layer = DCLSConv2d(4, 4, 3, 5, groups=4, interpolation=interpolation).eval()
    x = torch.randn(1, 4, 9, 9)
    with torch.no_grad():
        expected = layer(x)
        twin = duplicate(layer)
        layer.weight.zero_()
        assert torch.equal(twin(x), expected)
    assert twin.state_dict().keys() == layer.state_dict().keys()


def test_state_dict_has_parameters_only():
    layer = DCLSConv2d(4, 4, 3, 5, interpolation='gaussian').eval()
    with torch.no_grad():
        layer(torch.randn(1, 4, 9, 9))
    assert list(layer.state_dict()) == ['weight', 'positions', 'sigma', 'bias']
    plain = DCLSConv2d(4, 4, 3, 5, bias=False)
    assert list(plain.state_dict()) == ['weight', 'positions']


def test_repr_tells_what_is_not_default():
    assert repr(DCLSConv1d(4, 8, 3, 5)) == (
        'DCLSConv1d(4, 8, kernel_count=3, dilated_kernel_size=(5,), stride=(1,))'
    )
    layer = DCLSConv3_1d(
        4,
        8,
        3,
        5,
        padding='same',
        groups=2,
        bias=False,
        padding_mode='circular',
        interpolation='gaussian',
        dense_kernel_size=(3, 1),
    )
    assert repr(layer) == (
        'DCLSConv3_1d(4, 8, kernel_count=3, dilated_kernel_size=(5,), '
        "stride=(1, 1, 1), dense_kernel_size=(3, 1), padding='same', groups=2, "
        "bias=False, padding_mode='circular', interpolation='gaussian')"
    )
