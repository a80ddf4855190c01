import pytest
import torch
from helpers.versions import needs_compile
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.models.backbones import ConvNeXt
from torch import nn
from torch._dynamo.testing import CompileCounter

from mmdcls.layers import DCLSConv2d
from mmdcls.models import ConvNeXtDCLS

SMALL = dict(depths=[1, 1, 4, 1], channels=[4, 8, 12, 16])
DEEP = dict(depths=[1, 1, 12, 1], channels=[4, 8, 12, 16])


class Detector(nn.Module):
    """A backbone and a head, named as mmdet's and mmseg's models name them."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(16, 2)


def convnext_dcls(arch, **kwargs):
    return ConvNeXtDCLS(arch, dilated_kernel_size=5, kernel_count=3, **kwargs)


def build(model, constructor='mmdcls.DCLSOptimWrapperConstructor', **paramwise_cfg):
    cfg = dict(
        type='OptimWrapper',
        constructor=constructor,
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
        paramwise_cfg=paramwise_cfg or None,
    )
    return build_optim_wrapper(model, cfg)


def options(model, optim_wrapper):
    """Learning rate and weight decay of every parameter, by name."""
    names = {param: name for name, param in model.named_parameters()}
    listed = [
        (names[param], (group['lr'], group['weight_decay']))
        for group in optim_wrapper.optimizer.param_groups
        for param in group['params']
    ]
    assert len(listed) == len(dict(listed)), 'a parameter is in two groups'
    return dict(listed)


@pytest.mark.parametrize('upstream', ['mmseg', 'mmdet'])
@pytest.mark.parametrize('decay_type', ['layer_wise', 'stage_wise'])
@pytest.mark.parametrize('arch, num_layers', [(SMALL, 6), (DEEP, 12)], ids=['6', '12'])
def test_decay_over_depth_is_upstreams(upstream, decay_type, arch, num_layers):
    paramwise_cfg = dict(decay_rate=0.7, decay_type=decay_type, num_layers=num_layers)
    plain = Detector(ConvNeXt(arch, out_indices=(0, 1, 2, 3)))
    constructor = f'{upstream}.LearningRateDecayOptimizerConstructor'
    expected = options(plain, build(plain, constructor, **paramwise_cfg))

    dcls = Detector(convnext_dcls(arch, out_indices=(0, 1, 2, 3)))
    actual = options(dcls, build(dcls, **paramwise_cfg))
    positions = {name for name in actual if name.endswith('.positions')}
    assert positions == {
        f'backbone.stages.{i}.0.depthwise_conv.positions' for i in range(4)
    }
    assert set(actual) - positions == set(expected)
    for name, values in expected.items():
        assert actual[name] == pytest.approx(values), name
    for name in positions:
        weight = name.replace('positions', 'weight')
        assert actual[name] == pytest.approx((5 * expected[weight][0], 0)), name


@pytest.mark.parametrize('positions_lr_mult', [1.0, 5.0])
def test_positions_multiply_what_mmengine_would_give(positions_lr_mult):
    model = Detector(convnext_dcls(SMALL))
    optim_wrapper = build(
        model,
        positions_lr_mult=positions_lr_mult,
        positions_decay_mult=0.5,
        norm_decay_mult=0.0,
        custom_keys={'backbone.stages.2': dict(lr_mult=0.1, decay_mult=0.2)},
    )
    actual = options(model, optim_wrapper)
    assert set(actual) == {name for name, _ in model.named_parameters()}
    layer = 'backbone.stages.{}.0.depthwise_conv.positions'
    assert actual[layer.format(0)] == pytest.approx((1e-3 * positions_lr_mult, 0.025))
    assert actual[layer.format(2)] == pytest.approx((1e-4 * positions_lr_mult, 0.005))
    assert actual['backbone.stages.2.1.pointwise_conv1.weight'] == pytest.approx(
        (1e-4, 0.01)
    )
    assert actual['backbone.stages.1.0.norm.weight'] == (1e-3, 0.0)
    assert actual['head.weight'] == (1e-3, 0.05)


def test_defaults_without_any_paramwise_cfg():
    model = nn.Sequential(DCLSConv2d(4, 4, 3, 5, groups=4), nn.Conv2d(4, 4, 1))
    actual = options(model, build(model))
    assert actual['0.positions'] == pytest.approx((5e-3, 0.0))
    assert actual['0.weight'] == actual['1.weight'] == (1e-3, 0.05)


def test_sigma_is_spared_weight_decay():
    model = nn.Sequential(DCLSConv2d(4, 4, 3, 5, groups=4, interpolation='gaussian'))
    assert options(model, build(model))['0.sigma'] == (1e-3, 0.0)


def test_frozen_positions_are_in_no_group():
    model = Detector(convnext_dcls(SMALL, frozen_stages=1))
    for paramwise_cfg in ({}, dict(decay_rate=0.9, num_layers=6)):
        names = options(model, build(model, **paramwise_cfg))
        assert not any('stages.0' in name for name in names)
        assert any('stages.1' in name for name in names)


@pytest.mark.parametrize(
    'paramwise_cfg, message',
    [
        (dict(decay_rate=0.9, decay_type='deep', num_layers=6), "decay_type='deep'"),
        (dict(decay_rate=0.9), 'num_layers is not set'),
        (dict(decay_rate=0.9, num_layers=12), 'num_layers=12 does not fit'),
    ],
)
def test_bad_config(paramwise_cfg, message):
    with pytest.raises(ValueError, match=message):
        build(Detector(convnext_dcls(SMALL)), **paramwise_cfg)


@pytest.mark.parametrize('decay_type', ['layer_wise', 'stage_wise'])
def test_backbone_without_depths(decay_type):
    model = Detector(nn.Conv2d(1, 1, 1))
    with pytest.raises(TypeError, match='Conv2d has none'):
        build(model, decay_rate=0.9, num_layers=6, decay_type=decay_type)


class Named(nn.Module):
    """A model whose backbone is called otherwise."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.head = nn.Linear(16, 2)


@pytest.mark.parametrize('decay_type', ['layer_wise', 'stage_wise'])
@pytest.mark.parametrize(
    'make, prefix',
    [
        (lambda b: Named(img_backbone=b), 'img_backbone.'),
        (lambda b: Named(detector=Detector(b)), 'detector.backbone.'),
        (lambda b: nn.Sequential(b, nn.Linear(1, 1)), '0.'),
        (lambda b: b, ''),
    ],
    ids=['other name', 'deeper', 'sequential', 'itself'],
)
def test_backbone_is_found_wherever_it_is(decay_type, make, prefix):
    paramwise_cfg = dict(decay_rate=0.7, decay_type=decay_type, num_layers=6)
    usual = Detector(convnext_dcls(SMALL, out_indices=(0, 1, 2, 3)))
    expected = options(usual, build(usual, **paramwise_cfg))
    model = make(convnext_dcls(SMALL, out_indices=(0, 1, 2, 3)))
    actual = options(model, build(model, **paramwise_cfg))
    for name, values in expected.items():
        if name.startswith('backbone.'):
            assert actual[prefix + name.removeprefix('backbone.')] == values
    assert len({lr for lr, _ in actual.values()}) > 2


def test_a_classifier_that_asks_its_backbone_is_no_backbone():
    from mmpretrain.models import ImageClassifier

    head = dict(type='LinearClsHead', num_classes=2, in_channels=16)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = ImageClassifier(backbone=convnext_dcls(SMALL), head=head)
    actual = options(model, build(model, decay_rate=0.7, num_layers=6))
    assert actual['head.fc.weight'][0] == 1e-3
    assert actual['backbone.downsample_layers.0.0.weight'][0] == pytest.approx(
        1e-3 * 0.7**7
    )


def test_every_backbone_of_several_decays():
    model = Named(
        student=Detector(convnext_dcls(SMALL)), other=Detector(convnext_dcls(SMALL))
    )
    actual = options(model, build(model, decay_rate=0.7, num_layers=6))
    stem = '{}.backbone.downsample_layers.0.0.weight'
    assert actual[stem.format('student')] == actual[stem.format('other')]
    assert actual[stem.format('student')][0] == pytest.approx(1e-3 * 0.7**7)


@needs_compile
@pytest.mark.parametrize('optimizer', ['SGD', 'AdamW'])
def test_rates_are_kept_in_a_compiled_step(optimizer):
    """By the Runner's option ``compile`` the optimizer's step is compiled, too."""
    model = nn.Sequential(DCLSConv2d(4, 4, 3, 5, groups=4), nn.Conv2d(4, 4, 1))
    cfg = dict(
        constructor='mmdcls.DCLSOptimWrapperConstructor',
        optimizer=dict(type=optimizer, lr=1e-3),
    )
    optim_wrapper = build_optim_wrapper(model, cfg)
    compiled = CompileCounter()

    @torch.compile(backend=compiled)
    def step(x):
        optim_wrapper.update_params(model(x).square().mean())

    torch.compiler.reset()
    frames = []
    for i in range(4):
        for group in optim_wrapper.optimizer.param_groups:
            group['lr'] = 1e-3 / (i + 1)
        step(torch.rand(1, 4, 8, 8))
        assert options(model, optim_wrapper)['0.positions'][0] == pytest.approx(
            5e-3 / (i + 1)
        )
        frames.append(compiled.frame_count)
    assert frames[-1] == frames[-2]
    torch.compiler.reset()


def test_shared_positions_are_updated_once_a_step():
    model = Detector(convnext_dcls(SMALL, layer_scale_init_value=1.0))
    optim_wrapper = build(model)
    blocks = model.backbone.stages[2]
    assert len({id(block.depthwise_conv.positions) for block in blocks}) == 1
    features = model.backbone(torch.rand(1, 3, 64, 64))[-1]
    model.head(features).sum().backward()
    before = blocks[0].depthwise_conv.positions.detach().clone()
    optim_wrapper.optimizer.step()
    step = (blocks[0].depthwise_conv.positions.detach() - before).abs().max()
    # AdamW's first step is the learning rate in every coordinate.
    assert float(step) == pytest.approx(5e-3, rel=1e-2)
