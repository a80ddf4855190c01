import copy
import pickle

import pytest
import torch
from helpers.tolerances import assert_close
from mmengine.registry import MODELS
from mmpretrain.models.backbones import ConvNeXt
from torch import nn

from mmdcls.layers import DCLSConv2d
from mmdcls.models import ConvNeXtDCLS

SMALL = dict(depths=[1, 2, 3, 1], channels=[4, 8, 12, 16])


def small(**kwargs):
    kwargs = {'dilated_kernel_size': 5, 'kernel_count': 3, **kwargs}
    return ConvNeXtDCLS(SMALL, **kwargs)


def depthwise(model):
    return [block.depthwise_conv for stage in model.stages for block in stage]


@pytest.mark.parametrize('scope', [None, 'mmseg', 'mmdet', 'mmpretrain'])
def test_is_built_from_any_scope(scope):
    cfg = dict(type='mmdcls.ConvNeXtDCLS', arch=SMALL, kernel_count=3)
    with MODELS.switch_scope_and_registry(scope) as registry:
        assert isinstance(registry.build(cfg), ConvNeXtDCLS)


@pytest.mark.parametrize(
    'arch, kernel_count, parameters',
    [('tiny', 34, 28_587_688), ('small', 40, 50_217_064), ('base', 40, 88_582_632)],
)
def test_parameter_counts_are_those_of_the_released_classifiers(
    arch, kernel_count, parameters
):
    backbone = ConvNeXtDCLS(arch, kernel_count=kernel_count)
    head = nn.Linear(backbone.channels[-1], 1000)
    count = sum(p.numel() for m in (backbone, head) for p in m.parameters())
    assert count == parameters


def test_every_depthwise_convolution_is_replaced_and_nothing_else():
    plain = dict(ConvNeXt(SMALL).named_modules())
    dcls = dict(small().named_modules())
    assert list(plain) == list(dcls)
    replaced = {name for name in plain if type(plain[name]) is not type(dcls[name])}
    stages = {f'stages.{i}' for i in range(4)}
    assert {name for name in replaced if name} == stages | {
        name for name in plain if name.endswith('depthwise_conv')
    }


def test_positions_are_shared_within_a_stage_only():
    stages = [
        {id(block.depthwise_conv.positions) for block in stage}
        for stage in small().stages
    ]
    assert [len(stage) for stage in stages] == [1, 1, 1, 1]
    assert len(set.union(*stages)) == 4
    assert (
        len({id(layer.positions) for layer in depthwise(small(share_positions=False))})
        == 7
    )


def test_shared_positions_accumulate_the_gradients_of_the_blocks():
    torch.manual_seed(0)
    shared = small().double()
    separate = small(share_positions=False).double()
    separate.load_state_dict(shared.state_dict())
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    for model in (shared, separate):
        model(images)[0].square().sum().backward()
    for i, stage in enumerate(separate.stages):
        expected = sum(block.depthwise_conv.positions.grad for block in stage)
        actual = shared.stages[i][0].depthwise_conv.positions.grad
        assert_close(actual, expected, 'gradient')


@pytest.mark.parametrize('how', ['state_dict', 'deepcopy', 'pickle'])
def test_sharing_survives(how):
    model = small()
    if how == 'deepcopy':
        other = copy.deepcopy(model)
    elif how == 'pickle':
        other = pickle.loads(pickle.dumps(model))
    else:
        other = small()
        other.load_state_dict(model.state_dict())
    for stage in other.stages:
        assert len({id(block.depthwise_conv.positions) for block in stage}) == 1
    for a, b in zip(depthwise(model), depthwise(other), strict=True):
        assert_close(b.positions, a.positions, 'kernel')


@pytest.mark.parametrize('linear_pw_conv', [True, False])
@pytest.mark.parametrize('use_grn', [True, False])
def test_equals_the_parent_with_the_folded_kernels(linear_pw_conv, use_grn):
    """The parent itself, given the dense kernels, is the independent reference."""
    kwargs = dict(
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        linear_pw_conv=linear_pw_conv,
        use_grn=use_grn,
        layer_scale_init_value=0.5,
    )
    torch.manual_seed(0)
    model = small(**kwargs).double().eval()
    plain = ConvNeXt(SMALL, **kwargs).double()
    plain.eval()
    for block in (block for stage in plain.stages for block in stage):
        conv = block.depthwise_conv
        block.depthwise_conv = nn.Conv2d(
            conv.in_channels, conv.out_channels, 5, padding=2, groups=conv.groups
        ).double()
    state_dict = {k: v for k, v in model.state_dict().items() if 'positions' not in k}
    for name, layer in model.named_modules():
        if isinstance(layer, DCLSConv2d):
            state_dict[f'{name}.weight'] = layer.construct_kernel().detach()
    plain.load_state_dict(state_dict)
    images = torch.rand(2, 3, 72, 56, dtype=torch.float64)
    for actual, expected in zip(model(images), plain(images), strict=True):
        assert_close(actual, expected, 'output')
        assert actual.is_contiguous()

    model.switch_to_deploy()
    for actual, expected in zip(model(images), plain(images), strict=True):
        assert_close(actual, expected, 'output')
    deployed = small(deploy=True, **kwargs).double().eval()
    deployed.load_state_dict(model.state_dict())
    for actual, expected in zip(deployed(images), plain(images), strict=True):
        assert_close(actual, expected, 'output')


def test_activations_stay_channels_last_through_a_stage():
    model = small(gap_before_final_norm=False)
    seen = []
    for stage in model.stages:
        for block in stage:
            block.register_forward_hook(
                lambda module, args, output: seen.append(output)
            )
            block.depthwise_conv.register_forward_hook(
                lambda module, args, output: seen.append(output)
            )
    model(torch.rand(2, 3, 96, 96))
    assert len(seen) == 14
    for tensor in seen:
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_every_parameter_gets_a_gradient():
    model = small(out_indices=(0, 1, 2, 3), interpolation='gaussian')
    sum(out.square().sum() for out in model(torch.rand(2, 3, 64, 64))).backward()
    for name, param in model.named_parameters():
        assert param.grad is not None and param.grad.abs().max() > 0, name


def test_checkpointing_gives_equal_outputs_and_gradients():
    torch.manual_seed(0)
    plain = small(layer_scale_init_value=0.5).double()
    checkpointed = small(with_cp=True, layer_scale_init_value=0.5).double()
    checkpointed.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    outputs = [model(images)[0] for model in (plain, checkpointed)]
    assert_close(outputs[1], outputs[0], 'output')
    for output in outputs:
        output.square().sum().backward()
    gradients = {name: param.grad for name, param in plain.named_parameters()}
    for name, param in checkpointed.named_parameters():
        assert_close(param.grad, gradients[name], 'gradient')


def test_frozen_stages_freeze_positions():
    model = small(frozen_stages=2)
    model.train()
    for i, stage in enumerate(model.stages):
        for param in stage.parameters():
            assert param.requires_grad == (i >= 2)
        assert stage.training == (i >= 2)


def test_initialisation_is_the_official_one():
    torch.manual_seed(0)
    model = ConvNeXtDCLS('atto')
    model.init_weights()
    layers = depthwise(model)
    weights = torch.cat([layer.weight.detach().flatten() for layer in layers])
    assert float(weights.std()) == pytest.approx(0.02, rel=0.05)
    assert all(layer.bias.abs().max() == 0 for layer in layers)
    positions = torch.cat([layer.positions.detach().flatten() for layer in layers])
    assert float(positions.std()) == pytest.approx(0.5, rel=0.05)
    assert float(positions.mean()) == pytest.approx(0, abs=0.02)


def test_pretrained_init_cfg(tmp_path):
    source = small()
    state_dict = {f'backbone.{k}': v for k, v in source.state_dict().items()}
    torch.save({'state_dict': state_dict}, tmp_path / 'a.pth')
    init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.'
    )
    model = small(init_cfg=init_cfg)
    model.init_weights()
    for name, value in source.state_dict().items():
        assert_close(model.state_dict()[name], value, 'kernel')


def test_get_layer_depth_is_the_parents():
    plain, dcls = ConvNeXt(SMALL), small()
    for name, _ in plain.named_parameters():
        assert dcls.get_layer_depth(name) == plain.get_layer_depth(name)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(dilated_kernel_size=0), 'dilated_kernel_size=0'),
        (dict(dilated_kernel_size=16), 'dilated_kernel_size=16 must be odd'),
        (dict(kernel_count=0), 'kernel_count'),
        (dict(arch='minute'), "arch='minute' is not one of .*tiny"),
        (dict(interpolation='cubic'), 'cubic'),
        (dict(backend='fastest'), 'fastest'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ConvNeXtDCLS(**{'arch': SMALL, 'kernel_count': 3, **kwargs})
