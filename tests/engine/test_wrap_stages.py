"""Which modules FSDP wraps as one."""

import pytest
import torch
from mmengine.registry import FUNCTIONS
from torch import nn

import mmdcls.registry  # noqa: F401
from mmdcls.engine import wrap_stages
from mmdcls.engine.wrap_stages import find_stages
from mmdcls.layers import DCLSConv2d
from mmdcls.models import ConvNeXtDCLS, ResNetDCLS


def convnext(**kwargs):
    arch = dict(depths=[1, 2, 2, 1], channels=[2, 3, 4, 5])
    return ConvNeXtDCLS(arch, dilated_kernel_size=3, kernel_count=3, **kwargs)


def names(model, modules):
    return {name for name, module in model.named_modules() if module in modules}


def wrapped(model):
    """What FSDP would wrap: it asks about the model, then about all parts."""
    assert wrap_stages(module=model, recurse=True, nonwrapped_numel=1)
    return {
        part
        for part in model.modules()
        if part is not model
        and wrap_stages(module=part, recurse=True, nonwrapped_numel=1)
        and wrap_stages(module=part, recurse=False, nonwrapped_numel=1)
    }


def test_a_config_finds_it():
    with FUNCTIONS.switch_scope_and_registry(None):
        assert FUNCTIONS.get('mmdcls.wrap_stages') is wrap_stages


def test_stages_of_a_convnext():
    model = nn.Sequential(convnext(), nn.Linear(5, 2))
    # The first and the last have one block.
    expected = {f'0.stages.{i}' for i in range(4)}
    assert names(model, find_stages(model)) == expected
    assert names(model, wrapped(model)) == expected


def test_stages_of_positions_of_their_own():
    model = convnext(share_positions=False)
    expected = {f'stages.{i}' for i in range(4)}
    assert names(model, find_stages(model)) == expected


def test_a_block_with_a_part_of_what_is_shared_is_no_stage():
    model = ResNetDCLS(18, base_channels=4, stem_channels=4)
    layers = {f'layer{i}' for i in range(1, 5)}
    assert names(model, find_stages(model)) == layers


def test_what_is_not_called_cannot_be_wrapped():
    first = DCLSConv2d(2, 2, 3, 5)
    second = DCLSConv2d(2, 2, 3, 5, positions=first.positions)

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([first, second])

        def forward(self, x):
            return self.blocks[1](self.blocks[0](x))

    model = nn.Sequential(Inner())
    assert names(model, find_stages(model)) == {'0'}
    model = nn.ModuleList([first, second])
    assert not find_stages(model)


@pytest.mark.parametrize('model', [nn.Linear(2, 2), nn.Sequential(nn.ReLU())])
def test_models_without_positions_are_left_whole(model):
    assert not wrapped(model)


@pytest.mark.parametrize('with_cp', [False, True])
def test_a_stage_is_run_by_one_call(with_cp):
    """FSDP gathers the parameters of a stage when it is called."""
    backbone = convnext(with_cp=with_cp)
    resnet = ResNetDCLS(18, base_channels=4, stem_channels=4, with_cp=with_cp)
    for model, parts in (
        (backbone, list(backbone.stages)),
        (resnet, [getattr(resnet, name) for name in resnet.res_layers]),
    ):
        called = []
        for part in parts:
            part.register_forward_hook(lambda module, *_, c=called: c.append(module))
        model(torch.rand(2, 3, 64, 64))
        assert called == parts
