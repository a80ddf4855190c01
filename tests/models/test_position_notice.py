"""Who trains a DCLS backbone in another way than the paper is told."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmdcls.models import ConvNeXtDCLS, ResNetDCLS

OURS = 'mmdcls.DCLSOptimWrapperConstructor'
SMALL = dict(depths=[1, 1, 2, 1], channels=[4, 8, 12, 16])
BACKBONES = {
    'convnext': lambda: ConvNeXtDCLS(SMALL, dilated_kernel_size=5, kernel_count=3),
    'resnet': lambda: ResNetDCLS(18, base_channels=4, stem_channels=4, num_stages=4),
}


@pytest.fixture(params=BACKBONES)
def model(request, tmp_path, capsys):
    MMLogger.get_instance(f'{request.param}-{tmp_path.name}')
    model = nn.Module()
    model.backbone = BACKBONES[request.param]()
    return model.train()


def told(capsys):
    captured = capsys.readouterr()
    return ' '.join((captured.out + captured.err).split())


def build(model, constructor, **paramwise_cfg):
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
    cfg = dict(constructor=constructor, optimizer=optimizer)
    return build_optim_wrapper(model, dict(cfg, paramwise_cfg=paramwise_cfg or None))


def test_building_names_the_constructor(model, capsys):
    assert f"constructor='{OURS}'" in told(capsys)


@pytest.mark.parametrize(
    'constructor, paramwise_cfg',
    [
        ('DefaultOptimWrapperConstructor', {}),
        ('DefaultOptimWrapperConstructor', dict(bypass_duplicate=True)),
        (
            'mmseg.LearningRateDecayOptimizerConstructor',
            dict(decay_rate=0.9, decay_type='layer_wise', num_layers=6),
        ),
        (
            'mmdet.LearningRateDecayOptimizerConstructor',
            dict(decay_rate=0.9, decay_type='layer_wise', num_layers=6),
        ),
    ],
)
def test_other_constructors_bring_a_warning(model, capsys, constructor, paramwise_cfg):
    if 'Decay' in constructor and isinstance(model.backbone, ResNetDCLS):
        pytest.skip('upstream decays ConvNeXt only')
    build(model, constructor, **paramwise_cfg)
    told(capsys)
    model.backbone(torch.rand(2, 3, 64, 64))
    message = told(capsys)
    assert 'are trained like weights' in message and OURS in message
    model.backbone(torch.rand(2, 3, 64, 64))
    assert not told(capsys)


def test_ours_brings_none(model, capsys):
    build(model, OURS)
    told(capsys)
    model.backbone(torch.rand(2, 3, 64, 64))
    assert not told(capsys)


def test_nobody_is_told_in_inference(model, capsys):
    told(capsys)
    with torch.no_grad():
        model.backbone(torch.rand(2, 3, 64, 64))
    model.eval()
    model.backbone(torch.rand(2, 3, 64, 64))
    assert not told(capsys)
