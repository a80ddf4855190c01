import pytest
import torch
from mmengine.registry import MODELS
from mmpretrain.models.backbones import ConvNeXt, ResNet
from torch import nn

from mmdcls.models import ConvNeXtBaseline, ResNetBaseline

SMALL = dict(depths=[1, 2, 3, 1], channels=[4, 8, 12, 16])
SLIM = dict(base_channels=8, stem_channels=8, out_indices=(0, 1, 2, 3))


def replaced(plain, baseline):
    """Names and layers of the convolutions that differ in kernel or dilation."""
    plain = dict(plain.named_modules())
    return {
        name: layer
        for name, layer in baseline.named_modules()
        if isinstance(layer, nn.Conv2d)
        and (layer.kernel_size, layer.dilation)
        != (plain[name].kernel_size, plain[name].dilation)
    }


@pytest.mark.parametrize('kernel_size, dilation', [(7, 2), (17, 1), (3, 1)])
def test_convnext_has_the_kernel_in_its_depthwise_convolutions(kernel_size, dilation):
    plain = ConvNeXt(SMALL)
    model = ConvNeXtBaseline(SMALL, kernel_size=kernel_size, dilation=dilation)
    layers = replaced(plain, model)
    assert sorted(layers) == sorted(
        name for name, _ in plain.named_modules() if name.endswith('depthwise_conv')
    )
    for layer in layers.values():
        assert layer.kernel_size == (kernel_size, kernel_size)
        assert layer.dilation == (dilation, dilation)
        assert layer.groups == layer.in_channels == layer.out_channels


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('kernel_size, dilation', [(7, 1), (3, 2), (3, 3)])
def test_resnet_has_the_kernel_in_its_3x3_convolutions(depth, kernel_size, dilation):
    plain = ResNet(depth, **SLIM)
    model = ResNetBaseline(depth, kernel_size=kernel_size, dilation=dilation, **SLIM)
    layers = replaced(plain, model)
    assert len(layers) == 16
    for name, layer in layers.items():
        old = plain.get_submodule(name)
        assert old.kernel_size == (3, 3)
        assert layer.kernel_size == (kernel_size, kernel_size)
        assert layer.dilation == (dilation, dilation)
        assert (layer.stride, layer.bias is None) == (old.stride, old.bias is None)
    assert model.conv1.dilation == (1, 1)


@pytest.mark.parametrize(
    'plain, baseline',
    [
        (ConvNeXt(SMALL, out_indices=(0, 1, 2, 3)), ConvNeXtBaseline),
        (ResNet(18, **SLIM), ResNetBaseline),
    ],
    ids=['convnext', 'resnet'],
)
@pytest.mark.parametrize('options', [dict(kernel_size=9), dict(dilation=3)], ids=str)
def test_output_sizes_are_the_parents(plain, baseline, options):
    arguments = dict(arch=SMALL, out_indices=(0, 1, 2, 3))
    if baseline is ResNetBaseline:
        arguments = dict(depth=18, **SLIM)
    images = torch.rand(1, 3, 70, 46)
    expected = [out.shape for out in plain(images)]
    model = baseline(**arguments, **options).eval()
    assert [out.shape for out in model(images)] == expected


def test_defaults_are_the_parents():
    torch.manual_seed(0)
    plain, model = ResNet(18, **SLIM), ResNetBaseline(18, **SLIM).eval()
    plain.eval()
    model.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 64, 64)
    for actual, expected in zip(model(images), plain(images), strict=True):
        torch.testing.assert_close(actual, expected)


def test_initialisation_covers_the_new_convolutions():
    torch.manual_seed(0)
    model = ConvNeXtBaseline('atto', kernel_size=17)
    model.init_cfg = dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02)
    model.init_weights()
    weight = model.stages[0][0].depthwise_conv.weight
    assert float(weight.std()) == pytest.approx(0.02, rel=0.05)


def test_frozen_stages_freeze_the_new_convolutions():
    convnext = ConvNeXtBaseline(SMALL, kernel_size=9, frozen_stages=2).train()
    assert not any(p.requires_grad for p in convnext.stages[1].parameters())
    assert all(p.requires_grad for p in convnext.stages[2].parameters())
    resnet = ResNetBaseline(18, kernel_size=7, frozen_stages=1, **SLIM).train()
    assert not any(p.requires_grad for p in resnet.layer1.parameters())
    assert all(p.requires_grad for p in resnet.layer2.parameters())


@pytest.mark.parametrize('scope', ['mmseg', 'mmdet', 'mmpretrain'])
@pytest.mark.parametrize('name', ['ConvNeXtBaseline', 'ResNetBaseline'])
def test_is_built_from_any_scope(scope, name):
    kwargs = dict(arch=SMALL) if name == 'ConvNeXtBaseline' else dict(depth=18)
    with MODELS.switch_scope_and_registry(scope) as registry:
        model = registry.build(dict(type=f'mmdcls.{name}', **kwargs))
    assert type(model).__name__ == name


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(kernel_size=8), 'kernel_size=8 must be odd'),
        (dict(kernel_size=-1), 'kernel_size=-1 must be odd'),
        (dict(dilation=0), 'dilation=0 must be at least 1'),
    ],
    ids=str,
)
@pytest.mark.parametrize('make', [ConvNeXtBaseline, ResNetBaseline])
def test_bad_arguments(make, kwargs, message):
    first = SMALL if make is ConvNeXtBaseline else 18
    with pytest.raises(ValueError, match=message):
        make(first, **kwargs)
