"""``init_cfg`` of any OpenMMLab model reaches DCLS layers as it does convolutions."""

import pytest
import torch
from mmengine.model import BaseModule

from mmdcls import layers
from mmdcls.models import ConvNeXtDCLS, ResNetDCLS

SMALL = dict(depths=[1, 1, 1, 1], channels=[4, 8, 12, 16])
DIMENSIONS = {
    'DCLSConv1d': 1,
    'DCLSConv2d': 2,
    'DCLSConv2_1d': 2,
    'DCLSConv3d': 3,
    'DCLSConv3_1d': 3,
    'DCLSConv3_2d': 3,
}


class Host(BaseModule):
    """A model that is not ours, with one DCLS layer somewhere inside."""

    def __init__(self, name, init_cfg):
        super().__init__(init_cfg)
        make = getattr(layers, name)
        self.inside = torch.nn.Sequential(
            make(2, 2, kernel_count=3, dilated_kernel_size=5)
        )


@pytest.mark.parametrize('as_list', [False, True], ids=['text', 'list'])
@pytest.mark.parametrize('name, dimensions', DIMENSIONS.items())
def test_hosts_initialise_dcls_layers_as_convolutions(name, dimensions, as_list):
    layer = f'Conv{dimensions}d'
    init_cfg = dict(type='Constant', val=7, layer=[layer] if as_list else layer)
    host = Host(name, init_cfg)
    positions = host.inside[0].positions.clone()
    host.init_weights()
    assert (host.inside[0].weight == 7).all()
    assert torch.equal(host.inside[0].positions, positions)


def test_layers_of_other_dimensions_are_left_alone():
    host = Host('DCLSConv2d', dict(type='Constant', val=7, layer='Conv1d'))
    host.init_weights()
    assert not (host.inside[0].weight == 7).any()


@pytest.mark.parametrize(
    'init_cfg',
    [
        dict(type='Constant', val=7, layer='Conv2d'),
        dict(type='Constant', val=7, layer=['Conv2d', 'Linear']),
        [
            dict(type='Constant', val=1, layer='LayerNorm2d'),
            dict(type='Constant', val=7, layer='Conv2d'),
        ],
    ],
    ids=['text', 'list', 'several'],
)
def test_convnext_dcls_initialises_every_convolution(init_cfg):
    model = ConvNeXtDCLS(
        SMALL, dilated_kernel_size=5, kernel_count=3, init_cfg=init_cfg
    )
    model.init_weights()
    convolutions = [m for m in model.modules() if 'Conv' in type(m).__name__]
    weights = [m.weight for m in convolutions if hasattr(m, 'weight')]
    assert len(weights) == 8
    assert all((weight == 7).all() for weight in weights)


def test_resnet_dcls_initialises_its_dcls_layers():
    """By the parent's default: Kaiming, by the elements that leave a channel."""
    torch.manual_seed(0)
    model = ResNetDCLS(18, kernel_count=5)
    model.init_weights()
    weight = model.layer2[1].conv2.weight
    assert weight.shape == (128, 128, 5)
    assert float(weight.detach().std()) == pytest.approx(
        (2 / (128 * 5)) ** 0.5, rel=0.02
    )
