"""A layer inside of torch.compile, autocast, checkpointing and DDP."""

import pytest
import torch
import torch.multiprocessing as mp
from helpers.shared_positions_training import make_batch, make_model, train_in_parallel
from helpers.tolerances import assert_close
from helpers.versions import needs_compile
from torch.utils.checkpoint import checkpoint

from mmdcls.layers import DCLSConv1d, DCLSConv2d, DCLSConv3_2d, DCLSConv3d

CASES = {
    'depthwise': (DCLSConv2d, {'groups': 4}),
    '2d': (DCLSConv2d, {'stride': 2}),
    '2d-reflect': (DCLSConv2d, {'padding_mode': 'reflect'}),
    '1d': (DCLSConv1d, {}),
    '3d': (DCLSConv3d, {}),
    '3-2d': (DCLSConv3_2d, {'dense_kernel_size': 5}),
}


def make_layer(case, interpolation='bilinear'):
    torch.manual_seed(0)
    cls, options = CASES[case]
    return cls(4, 4, 3, 5, padding=2, interpolation=interpolation, **options)


def make_input(layer, size=7):
    shape = (2, 4, *(size,) * layer.spatial_dimensions)
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape, generator=generator).requires_grad_()


def run(function, layer, x):
    """Output, gradients of the parameters and of x."""
    x = x.detach().clone().requires_grad_()
    layer.zero_grad()
    out = function(x)
    out.square().sum().backward()
    return out, [parameter.grad.clone() for parameter in layer.parameters()], x.grad


def check_equal(actual, expected):
    assert_close(actual[0], expected[0], 'output')
    for one, other in zip(actual[1], expected[1], strict=True):
        assert_close(one, other, 'gradient')
    assert_close(actual[2], expected[2], 'gradient')


@needs_compile
@pytest.mark.parametrize('interpolation', ['bilinear', 'triangle', 'gaussian'])
@pytest.mark.parametrize('case', CASES)
def test_traced_as_one_graph(case, interpolation):
    torch._dynamo.reset()
    layer = make_layer(case, interpolation)
    x = make_input(layer)
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    expected = run(layer, layer, x)
    check_equal(run(compiled, layer, x), expected)
    layer.eval()
    with torch.no_grad():
        assert_close(compiled(x), expected[0].detach(), 'output')
        layer.positions.zero_()
        assert_close(compiled(x), layer(x), 'output')


@pytest.mark.slow
@pytest.mark.parametrize('interpolation', ['bilinear', 'gaussian'])
def test_compiled(interpolation):
    torch._dynamo.reset()
    layer = make_layer('depthwise', interpolation)
    x = make_input(layer)
    compiled = torch.compile(layer, fullgraph=True)
    check_equal(run(compiled, layer, x), run(layer, layer, x))


@pytest.mark.parametrize('interpolation', ['bilinear', 'triangle', 'gaussian'])
@pytest.mark.parametrize('case', CASES)
def test_autocast_convolves_in_bfloat16(case, interpolation):
    layer = make_layer(case, interpolation)
    x = make_input(layer)
    expected = run(layer, layer, x)

    def autocast(x):
        with torch.autocast('cpu', torch.bfloat16):
            return layer(x)

    out, gradients, grad_x = run(autocast, layer, x)
    assert out.dtype == torch.bfloat16
    assert_close(out.float(), expected[0], 'output', torch.bfloat16)
    scale = max(gradient.abs().max() for gradient in expected[1])
    for one, other in zip(
        [*gradients, grad_x], [*expected[1], expected[2]], strict=True
    ):
        assert one.dtype == torch.float32
        assert (one - other).abs().max() < 0.05 * scale


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_layer_in_half_precision(dtype):
    layer = make_layer('depthwise')
    x = make_input(layer)
    expected = layer(x)
    out = layer.to(dtype)(x.to(dtype))
    assert out.dtype == dtype
    assert_close(out.float(), expected, 'output', torch.bfloat16)


@pytest.mark.parametrize('use_reentrant', [True, False])
@pytest.mark.parametrize('case', CASES)
def test_checkpointing_gives_equal_results(case, use_reentrant):
    layer = make_layer(case)
    x = make_input(layer)
    expected = run(layer, layer, x)
    actual = run(lambda x: checkpoint(layer, x, use_reentrant=use_reentrant), layer, x)
    check_equal(actual, expected)


@needs_compile
@pytest.mark.parametrize('strict', [True, False])
def test_export_holds_no_kernel_of_the_past(strict):
    layer = make_layer('depthwise').eval()
    x = make_input(layer).detach()
    with torch.no_grad():
        layer(x)
        program = torch.export.export(layer, (x,), strict=strict)
    assert 'mmdcls::' not in str(program.graph)
    assert 'mmdcls.' not in str(program.graph)
    assert_close(program.module()(x), layer(x), 'output')
    names = {spec.target for spec in program.graph_signature.input_specs}
    assert {'weight', 'positions', 'bias'} <= names


@pytest.mark.slow
def test_distributed_gradients_are_those_of_the_whole_batch(tmp_path):
    results = tmp_path / 'gradients.pt'
    mp.spawn(train_in_parallel, (tmp_path / 'store', results), nprocs=2)
    model = make_model()
    model(make_batch()).square().mean().backward()
    for gradient, parameter in zip(
        torch.load(results), model.parameters(), strict=True
    ):
        assert_close(gradient, parameter.grad, 'gradient')
