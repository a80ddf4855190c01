"""What the DCLS backbones take over from their parents: sizes, versions, depths."""

import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models.backbones import ConvNeXt, ResNet
from torch import nn

from mmdcls.layers import iter_dcls_layers
from mmdcls.models import ConvNeXtDCLS, ResNetDCLS

# 'huge' is left out: its 660 million weights take 3 GB.
ARCHITECTURES = ['atto', 'femto', 'pico', 'nano', 'tiny', 'small', 'base', 'large']
ARCHITECTURES += ['xlarge']
SLIM = dict(base_channels=4, stem_channels=4)
V2 = 'mmpretrain::convnext_v2/convnext-v2-atto_32xb32_in1k.py'


@pytest.mark.parametrize('arch', ARCHITECTURES)
def test_every_architecture_of_convnext(arch):
    settings = ConvNeXt.arch_settings[arch]
    model = ConvNeXtDCLS(arch, dilated_kernel_size=9, kernel_count=3)
    for stage, depth, channels in zip(
        model.stages, settings['depths'], settings['channels'], strict=True
    ):
        layers = list(iter_dcls_layers(stage))
        assert len(layers) == len(stage) == depth
        assert len({id(layer.positions) for layer in layers}) == 1
        for layer in layers:
            assert layer.weight.shape == (channels, 1, 3)
            assert layer.dilated_kernel_size == (9, 9)


def test_no_architecture_is_forgotten():
    assert {*ARCHITECTURES, 'huge'} == set(ConvNeXt.arch_settings)


def test_convnext_v2_by_its_upstream_config():
    cfg = get_config(V2)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.update(type='mmdcls.ConvNeXtDCLS', kernel_count=5)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    blocks = [block for stage in model.backbone.stages for block in stage]
    # No layer scale, but a global response normalisation in every block.
    assert all(block.gamma is None and block.grn is not None for block in blocks)
    with torch.no_grad():
        for block in blocks:
            # Both start at 0, which stops the gradient of one another.
            block.grn.gamma.fill_(0.5)
    scores = model(torch.rand(2, 3, 64, 64), mode='tensor')[0]
    scores.square().sum().backward()
    for name, param in model.backbone.named_parameters():
        assert param.grad is not None and param.grad.abs().max() > 0, name


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_every_depth_of_resnet(depth):
    plain, dcls = ResNet(depth, **SLIM), ResNetDCLS(depth, **SLIM)
    replaced = [
        name
        for name, module in plain.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
    ]
    layers = list(iter_dcls_layers(dcls))
    assert (
        len(layers)
        == len(replaced)
        == sum(dcls.stage_blocks) * (2 if depth < 50 else 1)
    )


@pytest.mark.parametrize('depth', [34, 50, 101, 152])
def test_layer_depths_of_resnet_are_the_parents(depth):
    # The parent knows none for depth 18.
    plain, dcls = ResNet(depth, **SLIM), ResNetDCLS(depth, **SLIM)
    for name, _ in plain.named_parameters():
        assert dcls.get_layer_depth(name) == plain.get_layer_depth(name)
    for name, _ in dcls.named_parameters():
        if name.endswith('.positions'):
            weight = name.replace('positions', 'weight')
            assert dcls.get_layer_depth(name) == plain.get_layer_depth(weight)


@pytest.mark.parametrize('depth', [18, 50])
def test_stem_is_the_parents(depth):
    options = dict(depth=depth, deep_stem=True, avg_down=True, **SLIM)
    plain, dcls = ResNet(**options), ResNetDCLS(**options)
    assert str(plain.stem) == str(dcls.stem)
    assert not list(iter_dcls_layers(dcls.stem))
    images = torch.rand(1, 3, 64, 64)
    assert plain(images)[-1].shape == dcls(images)[-1].shape


def test_pretrained_init_cfg_of_resnet(tmp_path):
    source = ResNetDCLS(18, **SLIM)
    state_dict = {f'backbone.{k}': v for k, v in source.state_dict().items()}
    torch.save({'state_dict': state_dict}, tmp_path / 'a.pth')
    init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.'
    )
    model = ResNetDCLS(18, init_cfg=init_cfg, **SLIM)
    model.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
