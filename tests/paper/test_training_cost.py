"""Costs are what the paper's tables and the models' counts give, by hand."""

import pytest
from helpers.tool_runs import ROOT

import mmdcls.registry  # noqa: F401, finds mmseg's configs
from mmdcls.paper.training_cost import (
    as_dict,
    sweep_hours,
    to_markdown,
    training_costs,
)


def test_imagenet():
    tiny, small, base = training_costs(ROOT, tables=(2,))
    assert tiny.images == 300 * 1_281_167
    assert tiny.batch == 4096
    assert tiny.gpu_hours == pytest.approx(tiny.images * 3 / 725.3 / 3600)
    assert tiny.images_per_second == pytest.approx(tiny.images / (24 * 3600))
    assert tiny.exaflops == pytest.approx(6 * tiny.images * tiny.gflops / 1e9)
    assert tiny.gflops == pytest.approx(5.0, abs=0.05)
    channels = 96 + 192 + 384 + 768
    assert tiny.position_bytes == 4 * 2 * 34 * channels
    assert tiny.position_tensors == small.position_tensors == base.position_tensors == 4
    assert small.position_bytes == 4 * 2 * 40 * channels
    assert tiny.gradient_bytes == 4 * 28_587_688
    table = to_markdown([tiny], images_per_core=100.0)
    assert f'| {tiny.gpu_hours:.0f} |' in table
    assert f'| {tiny.images_per_second / 100:.0f} |' in table
    assert as_dict([tiny])['trainings'][0]['scale'] == 1.0


@pytest.mark.slow
def test_downstream():
    costs = training_costs(ROOT, tables=(3, 4))
    assert [cost.images for cost in costs] == [160_000 * 16] * 3 + [36 * 117_266] * 3
    assert {cost.batch for cost in costs} == {16}
    # Training crops of ADE20K are what the throughput is of; COCO's images are larger.
    assert [cost.scale for cost in costs[:3]] == [1.0] * 3
    assert all(1 < cost.scale < 1280 * 800 / 512**2 for cost in costs[3:])


def test_sweep():
    images = 50_000 * (1 + 75 + 50) + 7_500 + 30_000 + 50_889
    assert sweep_hours()['ConvNeXt-dcls-T'] == pytest.approx(images / 725.3 / 3600)
    assert len(sweep_hours()) == 3
