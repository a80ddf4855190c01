"""Kernels of layers that share positions, built at once."""

import pytest
import torch
from helpers.tolerances import assert_close
from torch import nn

from mmdcls.layers import DCLSConv2d, can_build_together, construct_kernels
from mmdcls.ops.kernel import INTERPOLATIONS


def make(interpolation='bilinear', number=3, **arguments):
    arguments = (
        dict(kernel_count=5, dilated_kernel_size=7, padding=3, groups=4) | arguments
    )
    layers = [DCLSConv2d(4, 4, interpolation=interpolation, **arguments)]
    while len(layers) < number:
        shared = layers[0].positions
        layers.append(
            DCLSConv2d(4, 4, interpolation=interpolation, positions=shared, **arguments)
        )
    return layers


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_kernels_and_outputs_are_those_of_each_layer(interpolation):
    torch.manual_seed(0)
    layers = make(interpolation)
    assert can_build_together(layers)
    x = torch.randn(2, 4, 9, 9)
    parameters = list(dict.fromkeys(p for layer in layers for p in layer.parameters()))
    together = sum(
        layer(x, kernel=kernel)
        for layer, kernel in zip(layers, construct_kernels(layers), strict=True)
    )
    alone = sum(layer(x) for layer in layers)
    assert_close(together, alone, 'output')
    for actual, expected in zip(
        torch.autograd.grad(together.square().sum(), parameters),
        torch.autograd.grad(alone.square().sum(), parameters),
        strict=True,
    ):
        assert_close(actual, expected, 'gradient')


def test_what_cannot_be_built_together():
    layers = make()
    assert not can_build_together([*layers, *make()])
    assert not can_build_together([nn.Conv2d(4, 4, 3), *layers])
    with torch.no_grad():
        assert can_build_together(layers)
        assert not can_build_together([layer.eval() for layer in layers])
    layers[1].switch_to_deploy()
    assert not can_build_together(layers)


def test_a_sharded_parameter_is_left_to_its_layer():
    layers = make()
    layers[1].weight = nn.Parameter(torch.zeros(7))
    assert not can_build_together(layers)
    del layers[1].weight
    layers[1].weight = torch.zeros(4, 1, 5)
    assert not can_build_together(layers)
