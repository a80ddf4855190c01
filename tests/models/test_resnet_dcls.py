import pytest
import torch
from helpers.tolerances import assert_close
from helpers.trained_models import set_batch_norms
from mmengine.registry import MODELS
from mmpretrain.models.backbones import ResNet
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdcls.layers import DCLSConv2d, iter_dcls_layers
from mmdcls.models import ResNetDCLS


def parameters(backbone):
    """In a classifier of ImageNet's 1000 classes."""
    head = nn.Linear(2048, 1000)
    return sum(p.numel() for m in (backbone, head) for p in m.parameters())


@pytest.mark.parametrize('kernel_count, printed', [(5, 24.0), (6, 26.0)])
def test_parameter_counts_are_table_1s(kernel_count, printed):
    count = parameters(ResNetDCLS(50, kernel_count=kernel_count))
    assert round(count / 1e6, 1) == printed


@pytest.mark.parametrize('depth, layers', [(18, 16), (34, 32), (50, 16)])
def test_every_3x3_convolution_of_the_blocks_is_replaced(depth, layers):
    plain = dict(ResNet(depth).named_modules())
    dcls = dict(ResNetDCLS(depth).named_modules())
    assert list(plain) == list(dcls)
    replaced = [name for name, m in dcls.items() if isinstance(m, DCLSConv2d)]
    assert replaced == [
        name
        for name, m in plain.items()
        if getattr(m, 'kernel_size', 0) == (3, 3) and isinstance(m, nn.Conv2d)
    ]
    assert len(replaced) == layers


def test_one_position_tensor_a_stage_the_strided_one_included():
    backbone = ResNetDCLS(50)
    for i in range(1, 5):
        stage = getattr(backbone, f'layer{i}')
        layers = list(iter_dcls_layers(stage))
        assert len({id(layer.positions) for layer in layers}) == 1
        assert layers[0].stride == ((1, 1) if i == 1 else (2, 2))
    separate = list(iter_dcls_layers(ResNetDCLS(50, share_positions=False)))
    assert len({id(layer.positions) for layer in separate}) == len(separate) == 16


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('style', ['pytorch', 'caffe'])
def test_output_sizes_are_the_parents(depth, style):
    kwargs = dict(
        out_indices=(0, 1, 2, 3), style=style, base_channels=8, stem_channels=8
    )
    images = torch.rand(1, 3, 70, 46)
    expected = [out.shape for out in ResNet(depth, **kwargs)(images)]
    assert [out.shape for out in ResNetDCLS(depth, **kwargs)(images)] == expected


SMALL = dict(base_channels=8, stem_channels=8)
VARIANTS = {
    'basic': dict(depth=18),
    'bottleneck': dict(depth=50, num_stages=2, strides=(1, 2), dilations=(1, 1)),
    'deep stem, pooled downsampling': dict(depth=18, deep_stem=True, avg_down=True),
    'synchronised': dict(depth=18, norm_cfg=dict(type='SyncBN')),
}


@pytest.mark.parametrize('variant', VARIANTS)
def test_deployed_model_is_a_plain_one_and_equal(variant):
    kwargs = {**SMALL, **VARIANTS[variant]}
    kwargs['out_indices'] = (0, kwargs.get('num_stages', 4) - 1)
    torch.manual_seed(0)
    model = ResNetDCLS(**kwargs).double().eval()
    set_batch_norms(model)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    expected = model(images)
    model.switch_to_deploy()
    deployed = ResNetDCLS(deploy=True, **kwargs).double().eval()
    deployed.load_state_dict(model.state_dict())
    for other in (model, deployed):
        assert not any(isinstance(m, (_BatchNorm, DCLSConv2d)) for m in other.modules())
        for convolution in other.modules():
            if isinstance(convolution, nn.Conv2d):
                assert type(convolution) is nn.Conv2d and convolution.bias is not None
        for actual, value in zip(other(images), expected, strict=True):
            assert_close(actual, value, 'output')


@pytest.mark.parametrize(
    'norm_cfg',
    [
        dict(type='GN', num_groups=2),
        dict(type='BN', track_running_stats=False),
        dict(type='BN', affine=False),
    ],
    ids=str,
)
def test_norms_that_cannot_be_folded_stay(norm_cfg):
    kwargs = dict(depth=18, norm_cfg=norm_cfg, **SMALL)
    torch.manual_seed(0)
    model = ResNetDCLS(**kwargs).double().eval()
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    (expected,) = model(images)
    norms = sum(type(m) is type(model.norm1) for m in model.modules())
    model.switch_to_deploy()
    deployed = ResNetDCLS(deploy=True, **kwargs).double().eval()
    deployed.load_state_dict(model.state_dict())
    assert not list(iter_dcls_layers(deployed))
    assert sum(type(m) is type(model.norm1) for m in deployed.modules()) == norms > 1
    assert_close(deployed(images)[0], expected, 'output')


def test_deployed_model_can_be_trained():
    model = ResNetDCLS(18, deploy=True, frozen_stages=1, norm_eval=True, **SMALL)
    assert model.train() is model and model.layer2.training
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(('conv1.', 'layer1.'))
    }
    model.init_weights()
    model(torch.rand(2, 3, 64, 64))[0].square().sum().backward()
    for name, param in model.named_parameters():
        assert (param.grad is None) == (name in frozen), name


def test_folding_keeps_frozen_stages_frozen():
    model = ResNetDCLS(18, frozen_stages=1, **SMALL).train()
    model.switch_to_deploy()
    assert model.layer4.training and not model.layer1.training
    assert not any(p.requires_grad for p in model.layer1.parameters())
    assert all(p.requires_grad for p in model.layer2.parameters())


def test_every_parameter_gets_a_gradient():
    model = ResNetDCLS(50, base_channels=8, stem_channels=8, zero_init_residual=False)
    model(torch.rand(2, 3, 64, 64))[0].square().sum().backward()
    for name, param in model.named_parameters():
        assert param.grad is not None and param.grad.abs().max() > 0, name


def test_checkpointing_gives_equal_gradients():
    kwargs = dict(depth=18, base_channels=8, stem_channels=8)
    torch.manual_seed(0)
    plain = ResNetDCLS(**kwargs).double()
    checkpointed = ResNetDCLS(with_cp=True, **kwargs).double()
    checkpointed.load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    for model in (plain, checkpointed):
        model(images)[0].square().sum().backward()
    gradients = {name: param.grad for name, param in plain.named_parameters()}
    for name, param in checkpointed.named_parameters():
        assert_close(param.grad, gradients[name], 'gradient')


def test_frozen_stages_and_norm_eval():
    model = ResNetDCLS(18, frozen_stages=2, norm_eval=True).train()
    assert not any(p.requires_grad for p in model.layer2.parameters())
    assert all(p.requires_grad for p in model.layer3.parameters())
    assert not model.layer3[0].bn1.training


@pytest.mark.parametrize('scope', ['mmseg', 'mmdet', 'mmpretrain'])
def test_is_built_from_any_scope(scope):
    with MODELS.switch_scope_and_registry(scope) as registry:
        model = registry.build(dict(type='mmdcls.ResNetDCLS', depth=18))
    assert isinstance(model, ResNetDCLS)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(dilated_kernel_size=8), 'dilated_kernel_size=8'),
        (dict(kernel_count=0), 'kernel_count=0'),
        (dict(depth=20), 'invalid depth 20'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises((ValueError, KeyError), match=message):
        ResNetDCLS(**kwargs)
