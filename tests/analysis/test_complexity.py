import pytest
import torch
from helpers.tool_runs import ROOT
from mmengine.config import Config
from mmpretrain.models.backbones import ConvNeXt
from torch import nn

from mmdcls.analysis.complexity import (
    complexity_of_config,
    count_flops,
)
from mmdcls.layers import DCLSConv2_1d, DCLSConv2d, iter_dcls_layers
from mmdcls.models import ConvNeXtDCLS

SMALL = dict(depths=[1, 1, 2, 1], channels=[4, 8, 12, 16])
MINI = ROOT / 'configs/mini'


def multiply_accumulates(conv, height, width):
    """Of a convolution, by its definition."""
    per_output = conv.weight[0].numel()
    return conv.out_channels * height * width * per_output


@pytest.mark.parametrize(
    'conv, height, width',
    [
        (nn.Conv2d(3, 6, 3, padding=1), 9, 13),
        (nn.Conv2d(3, 6, 3, stride=2, padding=1), 5, 7),
        (nn.Conv2d(3, 6, 3, padding=2, dilation=2), 9, 13),
        (nn.Conv2d(3, 3, (3, 5), groups=3), 7, 9),
    ],
    ids=['plain', 'strided', 'dilated', 'depthwise'],
)
def test_convolution_counts_as_defined(conv, height, width):
    assert count_flops(conv, (9, 13)) == multiply_accumulates(conv, height, width)


@pytest.mark.parametrize('backend', ['auto', 'aten', 'fft'])
@pytest.mark.parametrize('kernel_count', [1, 34])
def test_dcls_counts_as_the_dense_convolution(backend, kernel_count):
    dcls = DCLSConv2d(3, 3, kernel_count, 17, padding=8, groups=3, backend=backend)
    dense = nn.Conv2d(3, 3, 17, padding=8, groups=3)
    assert count_flops(dcls, (9, 13)) == multiply_accumulates(dense, 9, 13)
    strided = DCLSConv2d(3, 6, kernel_count, 7, padding=3, stride=2)
    dense = nn.Conv2d(3, 6, 7, padding=3, stride=2)
    assert count_flops(strided, (9, 13)) == multiply_accumulates(dense, 5, 7)


def test_dense_axes_count_too():
    layer = DCLSConv2_1d(3, 4, 2, 5, padding=(1, 2), dense_kernel_size=3)
    dense = nn.Conv2d(3, 4, (3, 5), padding=(1, 2))
    assert count_flops(layer, (9, 13)) == multiply_accumulates(dense, 9, 13)


def test_folding_and_sharing_do_not_change_the_count():
    model = ConvNeXtDCLS(SMALL, dilated_kernel_size=5, kernel_count=3)
    count = count_flops(model, (64, 64))
    separate = ConvNeXtDCLS(
        SMALL, dilated_kernel_size=5, kernel_count=9, share_positions=False
    )
    assert count_flops(separate, (64, 64)) == count
    model.switch_to_deploy()
    assert count_flops(model, (64, 64)) == count


def test_7x7_dcls_costs_what_the_plain_backbone_costs():
    dcls = ConvNeXtDCLS(SMALL, dilated_kernel_size=7, kernel_count=3)
    assert count_flops(dcls, (64, 96)) == count_flops(ConvNeXt(SMALL), (64, 96))


def test_counting_leaves_the_model_alone():
    model = ConvNeXtDCLS(SMALL, dilated_kernel_size=5, kernel_count=3).train()
    count_flops(model, (64, 64))
    assert model.training and len(list(iter_dcls_layers(model))) == 5
    assert all(p.device.type == 'cpu' for p in model.parameters())


def test_flops_grow_with_the_image():
    model = nn.Conv2d(3, 4, 1)
    assert count_flops(model, (8, 20)) == 4 * 3 * 160
    assert count_flops(model, (16, 20)) == 2 * count_flops(model, (8, 20))


def test_detector_counts_proposals_and_masks_on_top_of_the_dense_part():
    path = MINI / 'cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py'
    cfg = Config.fromfile(path)
    counts = [complexity_of_config(cfg, shape).flops for shape in [(64, 64), (128, 64)]]
    backbone = ConvNeXtDCLS(
        'atto', out_indices=(0, 1, 2, 3), gap_before_final_norm=False
    )
    dense = count_flops(backbone, (64, 64))
    heads = 2 * counts[0] - counts[1]
    # 1000 proposals through three box heads of two linear layers and a convolution.
    convolution = 1000 * 49 * 32 * 32 * 9
    linear = 1000 * (32 * 49 * 128 + 128 * (81 + 320))
    assert heads > 3 * (convolution + linear)
    assert counts[0] - heads > dense


def test_segmenter_counts_at_the_papers_shape():
    cfg = Config.fromfile(
        MINI / 'upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py'
    )
    result = complexity_of_config(cfg)
    assert result.shape == (512, 2048)
    smaller = complexity_of_config(cfg, (512, 1024))
    assert 1.9 < result.flops / smaller.flops < 2.1
    assert result.as_dict() == dict(
        parameters=result.parameters,
        flops=result.flops,
        shape=(512, 2048),
        channels=3,
    )


def test_unknown_task():
    cfg = Config(dict(model=dict(type='X'), default_scope='mmpose'))
    with pytest.raises(ValueError, match="default_scope='mmpose' has no default shape"):
        complexity_of_config(cfg)


def test_nothing_is_computed():
    class Watch(nn.Module):
        def forward(self, x):
            assert x.device == torch.device('meta')
            return x

    assert count_flops(nn.Sequential(nn.Conv2d(3, 1, 1), Watch()), (4, 4)) == 48
