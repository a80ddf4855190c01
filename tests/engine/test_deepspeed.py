"""ClampPositionsHook and what DeepSpeed's optimizers show it.

Trainings by DeepSpeed itself are in tests/analysis/test_engine_comparison.py, where it
is installed.
"""

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from helpers.engine_runs import SmallModel
from mmengine._strategy.deepspeed import DeepSpeedOptimWrapper
from mmengine.hooks import EMAHook

from mmdcls.engine import ClampPositionsHook
from mmdcls.layers import keep_position_rates


class ZeroOptimizer:
    """Has DeepSpeed's param groups: flat pieces, which are none of the model's."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.param_groups = [dict(params=[torch.zeros(3)], lr=0.1)]
        self.defaults = {}


def make_runner(model, optimizer):
    return SimpleNamespace(
        model=model,
        hooks=[],
        iter=0,
        logger=logging.getLogger('test'),
        optim_wrapper=DeepSpeedOptimWrapper(optimizer),
    )


@pytest.fixture
def model():
    return SmallModel()


@pytest.fixture
def copies(monkeypatch):
    """What ZeRO trains, by the parameter; with DeepSpeed's functions to reach it."""
    kept = {}
    utils = ModuleType('deepspeed.utils')
    utils.safe_get_full_fp32_param = lambda param: kept[id(param)]
    utils.safe_set_full_fp32_param = lambda param, value: kept.update(
        {id(param): value}
    )
    monkeypatch.setitem(sys.modules, 'deepspeed', ModuleType('deepspeed'))
    monkeypatch.setitem(sys.modules, 'deepspeed.utils', utils)
    return kept


def test_its_wrapper_does_not_tell_of_steps(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    runner, hook = make_runner(model, optimizer), ClampPositionsHook()
    assert not hasattr(runner.optim_wrapper, 'should_update')
    hook.before_train(runner)
    with torch.no_grad():
        model.conv.positions.fill_(-9.0)
    hook.after_train_iter(runner, 0)
    assert (model.conv.positions == -3).all()


def test_the_copy_that_zero_trains_is_clamped(model, copies):
    positions = model.conv.positions
    positions._hp_mapping = object()
    copies[id(positions)] = torch.full(positions.shape, 9.0)
    runner, hook = make_runner(model, ZeroOptimizer(None)), ClampPositionsHook()
    hook.before_train(runner)
    assert (copies[id(positions)] == 3).all()
    with torch.no_grad():
        positions.fill_(5.0)
    copies[id(positions)] = torch.full(positions.shape, -2.5)
    hook.after_train_iter(runner, 0)
    assert (copies[id(positions)] == -2.5).all()
    assert (positions == 3).all()


def test_a_copy_out_of_reach_is_refused(model):
    runner = make_runner(model, ZeroOptimizer(None))
    with pytest.raises(ValueError, match='ZeroOptimizer trains a copy of conv.posit'):
        ClampPositionsHook().before_train(runner)


def test_stage_3_is_refused(model):
    model.conv.positions.ds_id = 1
    runner = make_runner(model, ZeroOptimizer(None))
    with pytest.raises(ValueError, match='zero_optimization.stage=3 cuts'):
        ClampPositionsHook().before_train(runner)


def test_rates_are_kept_if_the_optimizer_sees_one_group_at_a_time(model):
    conv = model.conv
    groups = [dict(params=[conv.weight]), dict(params=[conv.positions], lr=0.5)]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    keep_position_rates(optimizer, [conv])
    whole = optimizer.param_groups
    whole[0]['lr'] = 0.02
    for group in whole:
        # As DeepSpeed's ZeRO optimizers do.
        optimizer.param_groups = [group]
        optimizer.step()
        optimizer.param_groups = whole
    assert whole[1]['lr'] == pytest.approx(0.1)


def test_averages_of_its_models_are_refused(model):
    model.zero_optimization = lambda: True
    runner = make_runner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    ClampPositionsHook().before_run(runner)
    runner.hooks = [EMAHook()]
    with pytest.raises(ValueError, match='EMAHook cannot copy a model'):
        ClampPositionsHook().before_run(runner)
