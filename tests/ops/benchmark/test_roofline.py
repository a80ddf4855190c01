"""The model of GPUs against an analysis by hand of the compiled kernels."""

import pytest
from helpers.versions import needs_triton

from mmdcls.ops.benchmark import __main__ as benchmark
from mmdcls.ops.benchmark import roofline
from mmdcls.ops.benchmark.layers import STAGES
from mmdcls.ops.benchmark.roofline import GPUS

# Microseconds of the four stages, batch 64, of fp16, on an H100 and an A100.
ATEN_17 = (1284, 541, 183, 32), (1953, 823, 278, 48)
ATEN_7 = (240, 112, 49, 18), (364, 171, 75, 27)
TOEPLITZ = (139, 60, 10, 7), (174, 74, 19, 14)


@pytest.mark.parametrize('gpu', [0, 1], ids=['H100', 'A100'])
def test_model_is_that_of_the_analysis(gpu):
    for stage, (channels, size) in enumerate(STAGES):
        arguments = GPUS[gpu], 64, channels, size
        for kernel, expected in ((17, ATEN_17), (7, ATEN_7)):
            time = 1e6 * roofline.aten_seconds(*arguments, kernel)
            assert time == pytest.approx(expected[gpu][stage], rel=0.1)
        if stage < 2:  # Those of small maps count more than what is read.
            time = 1e6 * roofline.toeplitz_seconds(*arguments)
            assert time == pytest.approx(TOEPLITZ[gpu][stage], rel=0.02)


@needs_triton
def test_model_knows_the_kernels_blocks():
    from mmdcls.ops.backends import toeplitz_kernels as kernels

    assert kernels.TILE.value == roofline._TILE
    assert kernels.CORRELATE_BLOCKS[:2] == (roofline._BLOCK_M, roofline._BLOCK_H)
    rows, height, step_bytes, _, _ = kernels.SUM_BLOCKS
    assert (rows, height) == (roofline._PRODUCT_ROWS, roofline._BLOCK_H)
    assert step_bytes // roofline._BYTES == roofline._BLOCK_R
    for _, size in STAGES:
        kernel, span = roofline._kernel_and_span(size)
        assert kernels.window(size, kernel, kernel // 2, size)[1] == span


def test_command_prints_the_table(capsys):
    benchmark.main(['--model'])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 * 5
    assert lines[2].startswith('| H100 | 96x56x56 | 23')
    assert len({line.count('|') for line in lines}) == 1
