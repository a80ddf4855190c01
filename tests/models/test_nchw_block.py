"""A block on NCHW maps computes what it does on channels_last ones."""

import functools

import pytest
import torch
from helpers.tolerances import assert_close
from helpers.versions import needs_triton

from mmdcls.models import ConvNeXtDCLS
from mmdcls.models.convnext_block import run_fused, run_in_nchw

pytestmark = [needs_triton, pytest.mark.triton]


def make_block(drop_path_rate=0.0):
    torch.manual_seed(0)
    model = ConvNeXtDCLS(
        *(dict(depths=[2, 1, 1, 1], channels=[6, 4, 4, 4]), 5, 3),
        layer_scale_init_value=0.5,
        drop_path_rate=drop_path_rate,
    )
    return model.stages[0][1]


def run(call, block, x):
    torch.manual_seed(1)  # of stochastic depth
    output = call(x)
    grads = torch.autograd.grad(output.square().sum(), [x, *block.parameters()])
    return output, grads


@pytest.mark.parametrize('drop_path_rate', [0.0, 0.5])
@pytest.mark.parametrize('given', [True, False], ids=['built', 'to-build'])
def test_nchw_equals_the_block(drop_path_rate, given):
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    dtype = torch.float16 if device == 'cuda' else torch.float32  # For its rounding.
    block = make_block(drop_path_rate).to(device)
    x = torch.randn(3, 6, 5, 4, device=device, requires_grad=True)

    def run_nchw(x):
        kernel = block.depthwise_conv.construct_kernel() if given else None
        return run_in_nchw(block, x, kernel)

    (expected, expected_grads), (actual, grads) = (
        run(call, block, x) for call in (functools.partial(run_fused, block), run_nchw)
    )
    assert actual.is_contiguous()
    assert_close(actual, expected, 'output', dtype)
    for one, other in zip(grads, expected_grads, strict=True):
        assert_close(one, other, 'gradient', dtype)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_nchw_equals_the_block_under_autocast(dtype):
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    block = make_block().to(device)
    x = torch.randn(2, 6, 5, 4, device=device, requires_grad=True)
    results = []
    for call in (run_fused, run_in_nchw):
        with torch.autocast(device, dtype):
            output = call(block, x, None)
        assert output.dtype == torch.float32
        grads = torch.autograd.grad(output.square().sum(), [x, *block.parameters()])
        results.append([output, *grads])
    for one, other in zip(*results, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert_close(one, other, 'gradient', torch.bfloat16)
