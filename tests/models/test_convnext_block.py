import copy

import pytest
import torch
from helpers.tolerances import assert_close
from mmpretrain.models.backbones.convnext import ConvNeXtBlock
from torch import nn

from mmdcls.models.convnext_block import ConvNeXtDCLSBlock


def make_blocks(dtype=torch.float64, **kwargs):
    """A block of the parent and one of ours that has the same parameters."""
    torch.manual_seed(0)
    plain = ConvNeXtBlock(6, layer_scale_init_value=0.5, **kwargs).to(dtype)
    ours = copy.deepcopy(plain)
    ours.__class__ = ConvNeXtDCLSBlock
    return plain, ours


def run(block, x):
    torch.manual_seed(1)  # of stochastic depth
    output = block(x)
    grads = torch.autograd.grad(output.square().sum(), [x, *block.parameters()])
    return output, grads


@pytest.mark.parametrize(
    'kwargs',
    [
        {},
        dict(drop_path_rate=0.5),
        dict(use_grn=True),
        dict(linear_pw_conv=False),
        dict(act_cfg=dict(type='GELU', approximate='tanh')),
        dict(act_cfg=dict(type='ReLU')),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    'memory_format', [torch.contiguous_format, torch.channels_last]
)
@pytest.mark.parametrize('training', [True, False])
def test_equals_the_parent(kwargs, memory_format, training):
    plain, ours = make_blocks(**kwargs)
    x = torch.randn(8, 6, 9, 5, dtype=torch.float64)
    x = x.contiguous(memory_format=memory_format).requires_grad_()
    (expected, expected_grads), (actual, grads) = (
        run(block.train(training), x) for block in (plain, ours)
    )
    assert_close(actual, expected, 'output')
    for one, other in zip(grads, expected_grads, strict=True):
        assert_close(one, other, 'gradient')
    with torch.no_grad():
        assert_close(ours.eval()(x), plain.eval()(x), 'output')


def test_no_layer_scale():
    plain = ConvNeXtBlock(6, layer_scale_init_value=0.0)
    ours = copy.deepcopy(plain)
    ours.__class__ = ConvNeXtDCLSBlock
    x = torch.randn(2, 6, 9, 5)
    assert_close(ours(x), plain(x), 'output')


def test_small_layer_scale_survives_half_precision():
    """1e-6, where ConvNeXt starts, is not a normal number of float16."""
    plain, ours = make_blocks(torch.float32)
    for block in (plain, ours):
        nn.init.constant_(block.gamma, 1e-6)
    x = torch.zeros(2, 6, 9, 5)
    with torch.autocast('cpu', torch.float16), torch.no_grad():
        expected, actual = plain(x), ours(x)
    assert actual.dtype == expected.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=0)


def test_a_layer_that_was_swapped_is_run():
    """Adapters and quantisation put their own layers in the place of Linear's."""

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    plain, ours = make_blocks()
    for block in (plain, ours):
        block.pointwise_conv1.__class__ = Doubled
    x = torch.randn(2, 6, 9, 5, dtype=torch.float64)
    assert_close(ours(x), plain(x), 'output')
