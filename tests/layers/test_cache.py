"""The kernel kept in inference is never stale, however the parameters change."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmdcls.layers import DCLSConv2d
from mmdcls.layers.cache import KernelCache

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


@pytest.mark.parametrize('edit', EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_is_seen(edit):
    layer = make_layer()
    with torch.no_grad():
        before = layer(X)
        assert layer._cache._entry is not None
        edit(layer)
        after = layer(X.to(layer.weight.dtype))
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


@pytest.mark.parametrize('context', [torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize('training', [True, False])
def test_it_is_used_in_inference_only(context, training):
    layer = make_layer().train(training)
    with context():
        layer(X)
    used = layer._cache._entry is not None
    assert used == (context is torch.no_grad and not training)


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
    cache = KernelCache()
    failures = []

    def work(value):
        source = torch.full((3,), float(value))
        for _ in range(2000):
            if not torch.equal(cache.get(lambda x: x * 2, source), source * 2):
                failures.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
