"""The kernel kept in inference is never stale, however the parameters change."""

import copy
import itertools
import threading

import pytest
import torch
from helpers.tolerances import assert_close
from helpers.versions import needs_export_told_apart
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmdcls.layers import DCLSConv2d, cache
from mmdcls.layers.cache import KernelCache
from mmdcls.models import ConvNeXtDCLS

X = torch.randn(1, 4, 11, 11, generator=torch.Generator().manual_seed(0))


def make_layer(interpolation='gaussian'):
    torch.manual_seed(0)
    return DCLSConv2d(4, 4, 3, 5, groups=4, interpolation=interpolation).eval()


def expected_of(layer):
    """What a layer without history computes."""
    fresh = copy.deepcopy(layer)
    assert fresh._cache._entry is None
    with torch.no_grad():
        return fresh(X.to(layer.weight.dtype))


def edit_in_place(layer):
    layer.positions.add_(0.3)


def edit_one_element(layer):
    layer.weight[0, 0, 0] += 1e-3


def edit_data(layer):
    layer.positions.data.add_(0.3)


def edit_data_of_sigma(layer):
    layer.sigma.data.mul_(2)


def edit_through_numpy(layer):
    layer.weight.detach().numpy()[:] = 1


def edit_through_a_view(layer):
    layer.weight.view(-1)[:4].zero_()


def swap_data(layer):
    layer.weight.data = torch.randn(layer.weight.shape)


def swap_parameter(layer):
    layer.weight = nn.Parameter(torch.randn(layer.weight.shape))


def swap_there_and_back(layer):
    """The address of a freed parameter may be taken by the next one."""
    for _ in range(20):
        layer.weight = nn.Parameter(torch.randn(layer.weight.shape))


def load_state(layer):
    torch.manual_seed(1)
    layer.load_state_dict(
        DCLSConv2d(4, 4, 3, 5, groups=4, interpolation='gaussian').state_dict()
    )


def assign_state(layer):
    torch.manual_seed(1)
    other = DCLSConv2d(4, 4, 3, 5, groups=4, interpolation='gaussian')
    layer.load_state_dict(other.state_dict(), assign=True)


def train_a_step(layer):
    with torch.enable_grad():
        optimizer = torch.optim.SGD(layer.parameters(), 0.1)
        layer.train()(X).square().sum().backward()
        optimizer.step()
    layer.clamp_positions()
    layer.eval()


def clamp(layer):
    layer.positions.mul_(100)
    layer(X)
    layer.clamp_positions()


def to_double(layer):
    layer.double()


def to_double_and_back(layer):
    layer.double()
    layer.weight.add_(0.1)
    layer.float()


def to_another_device_and_back(layer):
    state = {name: tensor + 1 for name, tensor in layer.state_dict().items()}
    layer.to('meta')
    layer.to_empty(device='cpu')
    layer.load_state_dict(state)


def deploy(layer):
    layer.switch_to_deploy()
    layer.weight.mul_(2)


def reset(layer):
    layer.reset_parameters()


EDITS = [
    edit_in_place,
    edit_one_element,
    edit_data,
    edit_data_of_sigma,
    edit_through_numpy,
    edit_through_a_view,
    swap_data,
    swap_parameter,
    swap_there_and_back,
    load_state,
    assign_state,
    train_a_step,
    clamp,
    to_double,
    to_double_and_back,
    to_another_device_and_back,
    deploy,
    reset,
]


def call(layer):
    return layer


def compile_whole(layer):
    torch._dynamo.reset()
    return torch.compile(layer, backend='eager', fullgraph=True)


@pytest.mark.parametrize(
    'run', [call, pytest.param(compile_whole, marks=needs_export_told_apart)]
)
@pytest.mark.parametrize('edit', EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_is_seen(edit, run):
    layer = make_layer()
    function = run(layer)
    with torch.no_grad():
        before = function(X)
        assert layer._cache._entry is not None
        edit(layer)
        after = function(X.to(layer.weight.dtype))
        assert torch.equal(after, expected_of(layer))
        if edit is not to_double:
            assert not torch.equal(after, before)


def test_an_edit_of_shared_positions_is_seen():
    first = make_layer('bilinear')
    second = DCLSConv2d(4, 4, 3, 5, groups=4, positions=first.positions).eval()
    with torch.no_grad():
        first(X), second(X)
        first.positions.data.add_(0.3)
        assert torch.equal(second(X), expected_of(second))


def test_the_kernel_is_built_once(monkeypatch):
    layer = make_layer()
    with torch.no_grad():
        layer(X)
        monkeypatch.setattr(layer, '_construct', None)
        layer(X)
        with torch.inference_mode():
            layer(X)


@needs_export_told_apart
def test_the_kernel_is_built_once_in_a_compiled_model(monkeypatch):
    layer = make_layer()
    compiled = compile_whole(layer)
    with torch.no_grad():
        before = compiled(X)
        monkeypatch.setattr(cache, 'construct_kernel', None)
        assert torch.equal(compiled(X), before)


@needs_export_told_apart
def test_layers_alike_are_compiled_once():
    torch._dynamo.reset()
    graphs = []

    def note(graph, inputs):
        graphs.append(graph)
        return graph

    layers = [make_layer() for _ in range(10)]
    layers[0].weight.data.zero_()
    with torch.no_grad():
        for layer in layers:
            assert torch.equal(torch.compile(layer, backend=note)(X), layer(X))
    assert len(graphs) == 1


@pytest.mark.slow
@needs_export_told_apart
def test_a_compiled_model_follows_its_weights():
    """Through what PyTorch's compiler makes of it, in training and in evaluation."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = ConvNeXtDCLS(dict(depths=[1] * 4, channels=[8] * 4), kernel_count=3).eval()
    first_state = copy.deepcopy(model.state_dict())
    compiled = torch.compile(model)
    images = torch.randn(2, 3, 64, 64)
    outputs = []

    def check():
        with torch.no_grad():
            outputs.append(compiled(images)[0])
            assert_close(outputs[-1], copy.deepcopy(model)(images)[0], 'output')

    check()
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    compiled.train()(images)[0].square().sum().backward()
    optimizer.step()
    compiled.eval()
    check()
    with torch.no_grad():
        model.stages[0][0].depthwise_conv.positions.add_(0.3)
    check()
    model.stages[1][0].depthwise_conv.weight.data.mul_(2)
    check()
    assert not any(torch.allclose(*pair) for pair in itertools.pairwise(outputs))
    model.load_state_dict(first_state)
    check()
    assert torch.equal(outputs[0], outputs[-1])


@pytest.mark.parametrize('context', [torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('frozen', [True, False])
def test_it_is_used_where_no_gradient_is_asked_for(context, training, frozen):
    layer = make_layer().train(training).requires_grad_(not frozen)
    with context():
        layer(X)
    used = layer._cache._entry is not None
    assert used == (not training and (frozen or context is torch.no_grad))


@pytest.mark.parametrize('name', ['weight', 'positions', 'sigma'])
def test_one_trained_parameter_is_enough_to_build(name):
    layer = make_layer().requires_grad_(False)
    layer(X)
    getattr(layer, name).requires_grad_()
    layer(X).sum().backward()
    assert getattr(layer, name).grad is not None


def test_a_frozen_layer_passes_gradients_on():
    layer = make_layer().requires_grad_(False)
    with torch.inference_mode():
        layer(X)
    assert layer._cache._entry is not None
    x, other = (X.clone().requires_grad_() for _ in range(2))
    layer(x).square().sum().backward()
    layer.train()(other).square().sum().backward()
    assert_close(x.grad, other.grad, 'gradient')


def test_a_kernel_of_inference_mode_does_not_reach_autograd():
    layer = make_layer()
    with torch.inference_mode():
        layer(X)
    layer(X).sum().backward()
    assert layer.positions.grad is not None
    with torch.no_grad():
        assert not layer(X.clone()).is_inference()


def test_the_caller_cannot_edit_it():
    layer = make_layer()
    with torch.no_grad():
        before = layer(X)
        layer.construct_kernel().zero_()
        assert torch.equal(layer(X), before)


def test_functional_call_sees_its_own_parameters():
    layer = make_layer()
    zeros = {name: torch.zeros_like(p) for name, p in layer.named_parameters()}
    with torch.no_grad():
        before = layer(X)
        assert not torch.func.functional_call(layer, zeros, X).any()
        assert torch.equal(layer(X), before)


def test_other_devices_do_without():
    layer = make_layer().to('meta')
    with torch.no_grad():
        assert layer(X.to('meta')).shape == (1, 4, 7, 7)
    assert layer._cache._entry is None


def test_tracing_does_without():
    layer = make_layer('bilinear')
    with torch.no_grad():
        layer(X)
        traced = torch.jit.trace(layer, X)
        layer.positions.add_(0.3)
        assert torch.equal(traced(X), expected_of(layer))


def test_fake_tensors_do_without():
    with FakeTensorMode(), torch.no_grad():
        layer = make_layer()
        assert layer(torch.empty(1, 4, 11, 11)).shape == (1, 4, 7, 7)
        layer.clamp_positions()


def test_threads_do_not_mix_kernels():
    """Two models in turn through one cache, which a shared entry would confuse."""
    kernels = KernelCache()
    failures = []

    def work(value):
        source = torch.full((3,), float(value))
        for _ in range(2000):
            if not torch.equal(kernels.get(lambda x: x * 2, source), source * 2):
                failures.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
