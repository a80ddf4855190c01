import functools

import pytest
import torch
from helpers.tolerances import assert_close
from helpers.versions import needs_float16_on_cpu
from mmpretrain.models.backbones.convnext import ConvNeXtBlock
from torch import nn
from torch.nn.utils import prune

from mmdcls.models import ConvNeXtDCLS, convnext_block
from mmdcls.models.convnext_block import (
    can_run_fused,
    run_fused,
    takes_nchw,
)

X = torch.randn(
    8, 6, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
)


def make_block(dtype=torch.float64, **kwargs):
    torch.manual_seed(0)
    return ConvNeXtBlock(6, **{'layer_scale_init_value': 0.5, **kwargs}).to(dtype)


def run(call, block, x):
    torch.manual_seed(1)  # of stochastic depth
    output = call(x)
    grads = torch.autograd.grad(output.square().sum(), [x, *block.parameters()])
    return output, grads


@pytest.mark.parametrize('drop_path_rate', [0.0, 0.5])
@pytest.mark.parametrize(
    'memory_format', [torch.contiguous_format, torch.channels_last]
)
@pytest.mark.parametrize('training', [True, False])
def test_equals_the_block(drop_path_rate, memory_format, training):
    block = make_block(drop_path_rate=drop_path_rate).train(training)
    assert can_run_fused(block)
    fused = functools.partial(run_fused, block)
    x = X.contiguous(memory_format=memory_format).requires_grad_()
    (expected, expected_grads), (actual, grads) = (
        run(call, block, x) for call in (block, fused)
    )
    assert_close(actual, expected, 'output')
    for one, other in zip(grads, expected_grads, strict=True):
        assert_close(one, other, 'gradient')
    with torch.no_grad():
        assert_close(run_fused(block.eval(), x), block(x), 'output')


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(use_grn=True),
        dict(linear_pw_conv=False),
        dict(act_cfg=dict(type='GELU', approximate='tanh')),
        dict(act_cfg=dict(type='ReLU')),
        dict(layer_scale_init_value=0.0),
    ],
    ids=str,
)
def test_blocks_of_another_kind_are_left_alone(kwargs):
    assert not can_run_fused(make_block(**kwargs))


HOOKS = (
    'register_forward_hook',
    'register_forward_pre_hook',
    'register_full_backward_hook',
    'register_full_backward_pre_hook',
)


@pytest.mark.parametrize('name', ['', 'pointwise_conv1', 'act', 'pointwise_conv2'])
@pytest.mark.parametrize('hook', HOOKS)
def test_hooks_are_heard(name, hook):
    """Grad-CAM, profilers and pruning live by them."""
    model = ConvNeXtDCLS(dict(depths=[1] * 4, channels=[4] * 4), kernel_count=2)
    block = model.stages[0][0]
    heard = []
    handle = getattr(block.get_submodule(name), hook)(lambda *_: heard.append(1))
    images = torch.randn(1, 3, 32, 32, requires_grad=True)
    model(images)[0].sum().backward()
    assert heard == [1]
    handle.remove()
    assert can_run_fused(block)
    model(images)[0].sum().backward()
    assert heard == [1]


def test_the_way_to_run_is_chosen_once_a_block(monkeypatch):
    model = ConvNeXtDCLS(dict(depths=[1, 2, 1, 1], channels=[4] * 4), kernel_count=2)
    asked = []
    monkeypatch.setattr(
        'mmdcls.models.stage.can_run_fused',
        lambda block: asked.append(block) or can_run_fused(block),
    )
    model(torch.randn(1, 3, 32, 32))
    assert asked == [block for stage in model.stages for block in stage]


def test_global_hooks_are_heard():
    block, heard = make_block(), []
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, *_: heard.append(type(module))
    )
    try:
        assert not can_run_fused(block)
    finally:
        handle.remove()
    assert can_run_fused(block)


@pytest.mark.parametrize(
    'change',
    [
        nn.utils.weight_norm,
        nn.utils.parametrizations.weight_norm,
        functools.partial(prune.l1_unstructured, name='weight', amount=0.5),
    ],
    ids=['weight_norm', 'parametrization', 'pruning'],
)
@pytest.mark.filterwarnings('ignore:.*weight_norm:FutureWarning')
def test_weights_that_are_computed_are_computed_anew(change):
    block = make_block()
    change(block.pointwise_conv1)
    assert not can_run_fused(block)


@needs_float16_on_cpu
def test_small_layer_scale_survives_half_precision():
    """1e-6, where ConvNeXt starts, is not a normal number of float16."""
    block = make_block(torch.float32)
    nn.init.constant_(block.gamma, 1e-6)
    x = torch.zeros(2, 6, 9, 5)
    with torch.autocast('cpu', torch.float16), torch.no_grad():
        expected, actual = block(x), run_fused(block, x)
    assert actual.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=0)


def test_a_layer_that_was_swapped_is_run():
    """Adapters and quantisation put their own layers in the place of Linear's."""

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    block = make_block()
    block.pointwise_conv1.__class__ = Doubled
    assert not can_run_fused(block)


# --- On NCHW maps -------------------------------------------------------------------


def make_stage(**kwargs):
    torch.manual_seed(0)
    arch = dict(depths=[2, 1, 1, 1], channels=[6, 4, 4, 4])
    model = ConvNeXtDCLS(arch, 5, 3, layer_scale_init_value=0.5, **kwargs)
    return model.stages[0]


@pytest.fixture
def nchw_wins(monkeypatch):
    """As where a GPU is faster so; the calls of what chooses are noted."""
    called = []

    def choose(x, kernel_size, training):
        called.append((tuple(x.shape), kernel_size, training))
        return 'nchw'

    monkeypatch.setattr(convnext_block, 'choose_format', choose)
    return called


def test_a_stage_asks_what_is_faster(nchw_wins):
    stage = make_stage()
    x = torch.zeros(1, 6, 4, 4)
    assert takes_nchw(stage, x)
    with torch.no_grad():
        assert takes_nchw(stage, x)
    stage.requires_grad_(False)
    assert takes_nchw(stage, x)
    assert nchw_wins == [(tuple(x.shape), (5, 5), t) for t in (True, False, False)]


def test_without_a_gpu_maps_stay_in_channels_last():
    assert not takes_nchw(make_stage(), torch.zeros(1, 6, 4, 4))


@pytest.mark.parametrize('name', ['depthwise_conv', 'norm'])
@pytest.mark.parametrize('hook', HOOKS)
def test_hooks_on_what_nchw_leaves_out(name, hook, nchw_wins):
    stage = make_stage()
    handle = getattr(stage[1].get_submodule(name), hook)(lambda *_: None)
    assert not takes_nchw(stage, X) and not nchw_wins
    handle.remove()
    assert takes_nchw(stage, X)


@pytest.mark.parametrize(
    'change',
    [
        lambda block: setattr(block, 'norm', nn.Identity()),
        lambda block: setattr(block.depthwise_conv, 'backend', 'aten'),
        lambda block: setattr(block.depthwise_conv, 'padding', 'same'),
        lambda block: setattr(block, 'depthwise_conv', nn.Conv2d(6, 6, 7, padding=3)),
        lambda block: block.norm.register_parameter('bias', None),
    ],
    ids=['norm', 'backend', 'padding', 'convolution', 'bias'],
)
def test_parts_that_nchw_does_not_know(change, nchw_wins):
    stage = make_stage()
    change(stage[1])
    assert not takes_nchw(stage, X) and not nchw_wins


def test_hooks_on_the_model_run_in_either_format(nchw_wins, monkeypatch):
    """The backbone hands NCHW maps to every block of a stage."""
    formats = []
    monkeypatch.setattr(
        'mmdcls.models.stage.run_in_nchw',
        lambda block, x, kernel: formats.append(x.is_contiguous()) or x,
    )
    model = ConvNeXtDCLS(dict(depths=[1, 2, 1, 1], channels=[4] * 4), 5, 2)
    model(torch.randn(1, 3, 64, 64))
    assert formats == [True] * 5
