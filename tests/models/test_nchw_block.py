"""A block on NCHW maps computes what it does on channels_last ones."""

import functools
import itertools

import pytest
import torch
from helpers.tolerances import assert_close
from helpers.versions import needs_triton

from mmdcls.models import ConvNeXtDCLS
from mmdcls.models.convnext_block import run_fused, run_in_nchw
from mmdcls.ops import nchw_block
from mmdcls.ops.backends import tuning
from mmdcls.ops.nchw_block import measure_formats

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


def test_a_backbone_measures_and_changes_its_format(monkeypatch, tmp_path, caplog):
    """From the measurement to the gradients, with times that are made up."""
    torch.use_deterministic_algorithms(False)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    tuner = tuning.Tuner(tmp_path / 'file.json', lambda *arguments: {'aten': 1.0})
    monkeypatch.setattr(tuning, '_DEVICE_TYPE', device)
    monkeypatch.setattr(tuning, '_tuner_for', lambda x: (tuner, False))
    arch = dict(depths=[1] * 4, channels=[6] * 4)
    torch.manual_seed(0)
    model = ConvNeXtDCLS(arch, 3, 2, out_indices=(0, 3), layer_scale_init_value=0.5)
    model, images = model.to(device), torch.randn(2, 3, 32, 32, device=device)
    results = {}
    for faster in tuning.FORMATS:
        times = itertools.cycle([1.0, 0.5 if faster == 'nchw' else 2.0])
        timed = functools.partial(
            measure_formats, timer=lambda run, times=times: next(times)
        )
        monkeypatch.setattr(nchw_block, 'measure_formats', timed)
        tuner.results.clear()
        tuner.path.unlink(missing_ok=True)
        outputs = model(images)
        formats = [name for name in tuner.results.values() if name != 'aten']
        assert formats and set(formats) == {faster}
        loss = sum(output.square().sum() for output in outputs)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        results[faster] = [*outputs, *grads]
    assert not [r for r in caplog.records if 'not used' in r.message]
    for one, other in zip(*results.values(), strict=True):
        assert_close(one, other, 'gradient', torch.float16)
