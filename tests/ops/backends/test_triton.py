"""The Triton backends, without a GPU: in the interpreter, and as compiled code."""

import json
from pathlib import Path

import pytest
import torch
from helpers.triton_runs import run_python
from helpers.versions import needs_the_pinned_triton, needs_triton

FOLDER = Path(__file__).parent
pytestmark = needs_triton

# Largest number of registers of each case, in the order of the targets. With more,
# fewer threads share a multiprocessor; with more than there are, sums are spilled.
LIMITS = {
    'triton-forward-fp32': (80, 80, 64),
    'triton-forward-fp16': (80, 80, 64),
    'triton-grad_weight-fp32': (80, 80, 64),
    'toeplitz-forward-fp16': (128, 160, 128),
    'toeplitz-forward-bf16-7x7': (168, 192, 128),
    'toeplitz-forward-tf32': (128, 168, 168),
    'toeplitz-grad_input-fp16': (168, 168, 128),
    'toeplitz-grad_weight-fp16': (168, 192, 128),
    'toeplitz-grad_weight-tf32': (192, 255, 128),
    'construct-bilinear': (216, 216, 512),
    'construct-gaussian': (255, 255, 512),
    'norm': (80, 96, 64),
    'norm-backward': (168, 168, 144),
    'norm-backward-7x7': (64, 64, 48),
    'residual': (72, 64, 40),
    'residual-backward': (96, 96, 64),
}
TARGETS = {
    'sm_90': ('cuda', '90'),
    'sm_80': ('cuda', '80'),
    'gfx942': ('hip', 'gfx942'),
}
# Bytes that a block can have.
SHARED = {'sm_90': 227 * 1024, 'sm_80': 163 * 1024, 'gfx942': 64 * 1024}


@pytest.fixture(scope='module', params=TARGETS)
def compiled(request):
    """A target and what the kernels became there, which needs no GPU."""
    output = run_python(
        FOLDER / 'compiled_kernels.py', *TARGETS[request.param], interpret=False
    )
    return request.param, json.loads(output)


@needs_the_pinned_triton
def test_compiled_kernels_keep_their_sums_in_registers(compiled):
    target, report = compiled
    assert set(report) == set(LIMITS)
    for case, kernels in report.items():
        for name, figures in kernels.items():
            assert figures['stack'] == 0, (case, name)
            assert figures['shared'] <= SHARED[target], (case, name)
        limit = LIMITS[case][list(TARGETS).index(target)]
        assert max(f['registers'] for f in kernels.values()) <= limit, case


@needs_the_pinned_triton
def test_the_toeplitz_kernels_use_tensor_cores_and_wide_loads(compiled):
    target, report = compiled
    for case, kernels in report.items():
        if not case.startswith('toeplitz'):
            continue
        figures = kernels.get('correlate_kernel') or kernels['sum_kernel']
        assert figures['tensor core'] > 0, case
        assert figures['fused multiply-add'] == 0, case
        if target != 'gfx942' and case == 'toeplitz-forward-fp16':
            assert figures['wide load'] >= figures['load'] - 1, case


@needs_the_pinned_triton
def test_the_exact_kernel_has_neither_tensor_cores_nor_shared_memory(compiled):
    target, report = compiled
    for case, kernels in report.items():
        if not case.startswith('triton'):
            continue
        figures = kernels['correlate_kernel']
        assert figures['tensor core'] == figures['shared'] == 0, case
        if target != 'gfx942':
            assert figures['fused multiply-add'] == 32, case
            assert figures['wide load'] == figures['load'] <= 7, case


@needs_the_pinned_triton
def test_maps_are_laid_out_anew_in_wide_accesses(compiled):
    """Along the pixels on one side and along the channels on the other."""
    target, report = compiled
    for case in ('norm', 'norm-backward', 'residual', 'residual-backward'):
        (figures,) = report[case].values()
        assert figures['tensor core'] == 0, case
        assert figures['shared'] <= 16 * 1024, case
        if target != 'gfx942':
            assert figures['narrow access'] == 0, case
            assert figures['wide load'] >= 8, case


def test_few_kernels_are_compiled_whatever_the_image_sizes():
    """The constants of 11 x 21 image sizes of COCO's pipeline, on all stages."""
    pytest.importorskip('triton')
    from mmdcls.ops.backends import toeplitz_kernels as kernels

    constants = set()
    for height in range(480, 801, 32):
        for width in range(480, 1121, 32):
            for stride in (4, 8, 16, 32):
                rows, columns = -(-height // stride), -(-width // stride)
                constants.add(
                    (
                        kernels.window(columns, 17, 8, columns),
                        kernels.alignment(columns, torch.float16),
                        -(-rows // 8) > 4,
                    )
                )
    assert len(constants) <= 10
