"""What a config with a strategy must have to be started."""

import importlib.util
import sys
from types import ModuleType

import pytest
import torch
from mmengine.config import Config

from mmdcls.apis import strategies
from mmdcls.apis.strategies import leave_out_strategy, prepare_strategy
from mmdcls.errors import MmdclsError


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.fixture(autouse=True)
def joined(monkeypatch):
    """The launchers by which processes were joined."""
    launchers = []
    monkeypatch.setattr(
        strategies, 'join_processes', lambda launcher, cfg: launchers.append(launcher)
    )
    return launchers


def config(kind='FSDPStrategy', launcher='pytorch', strategy=None, **settings):
    return Config(
        dict(
            runner_type='FlexibleRunner',
            strategy=dict(type=kind, **(strategy or {})),
            launcher=launcher,
            **settings,
        )
    )


def test_a_config_without_strategy_is_left_alone(joined):
    cfg = Config(dict(launcher='pytorch'))
    prepare_strategy(cfg)
    assert cfg.to_dict() == dict(launcher='pytorch')
    assert joined == []


@pytest.mark.parametrize('kind', ['FSDPStrategy', 'mmdcls.FSDPStrategy'])
def test_fsdp_is_ours_also_on_cpus(kind, no_gpu, joined):
    cfg = config(kind)
    prepare_strategy(cfg)
    assert cfg.strategy.type == 'mmdcls.FSDPStrategy'
    assert cfg.env_cfg.dist_cfg.backend == 'nccl'
    assert joined == ['pytorch']


@pytest.mark.parametrize(
    'cfg, message',
    [
        (
            dict(strategy=dict(type='FSDPStrategy')),
            'runner_type is None; set it',
        ),
        (config(compile=True), '`compile` is not passed on by FlexibleRunner'),
        (config('ColossalAIStrategy'), '=ColossalAIStrategy is not one of Single'),
        (config(launcher='none'), "does not go with launcher='none'"),
        (config('SingleDeviceStrategy'), "does not go with launcher='pytorch'"),
        (config('DDPStrategy'), 'DDPStrategy needs GPUs'),
    ],
)
def test_what_cannot_work_is_said(cfg, message, no_gpu):
    with pytest.raises(MmdclsError, match=message) as error:
        prepare_strategy(Config(dict(cfg)))
    assert '\n' not in str(error.value)


def deepspeed(**wrapper):
    wrapper = dict(type='DeepSpeedOptimWrapper', **wrapper)
    return config('DeepSpeedStrategy', optim_wrapper=wrapper)


@pytest.fixture
def installed(monkeypatch):
    """Modules of DeepSpeed that are installed."""
    found = {'deepspeed', 'deepspeed.runtime.fp16.onebit'}
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name, *args: (
            (name if name in found else None)
            if name.startswith('deepspeed')
            else find(name, *args)
        ),
    )
    monkeypatch.setitem(sys.modules, 'deepspeed', ModuleType('deepspeed'))
    return found


def test_deepspeed(installed, no_gpu, joined):
    cfg = deepspeed()
    prepare_strategy(cfg)
    assert cfg.optim_wrapper.type == 'mmdcls.DeepSpeedOptimWrapper'
    assert joined == ['pytorch']
    for key, setting in (
        ('accumulative_counts', 'gradient_accumulation_steps'),
        ('clip_grad', 'gradient_clipping'),
    ):
        with pytest.raises(MmdclsError, match=f'{key}.* set strategy.{setting}'):
            prepare_strategy(deepspeed(**{key: 2}))
    with pytest.raises(MmdclsError, match='optim_wrapper.type.=OptimWrapper does not'):
        prepare_strategy(config('DeepSpeedStrategy'))
    installed.remove('deepspeed.runtime.fp16.onebit')
    with pytest.raises(MmdclsError, match='1-bit.*which the installed version has not'):
        prepare_strategy(deepspeed())
    installed.remove('deepspeed')
    with pytest.raises(MmdclsError, match='DeepSpeed, and it is not installed'):
        prepare_strategy(deepspeed())


def test_deepspeed_loads_folders_only(installed, no_gpu, tmp_path):
    """It would leave a model as it is, and say nothing."""
    path = tmp_path / 'iter_1.pth'
    path.touch()
    cfg = deepspeed()
    cfg.load_from = str(path)
    with pytest.raises(MmdclsError, match='iter_1.pth.*: DeepSpeed loads folders'):
        prepare_strategy(cfg)
    cfg = deepspeed()
    cfg.resume, cfg.work_dir = True, str(tmp_path)
    prepare_strategy(cfg)
    (tmp_path / 'last_checkpoint').write_text(str(path))
    with pytest.raises(MmdclsError, match='iter_1.pth.*: DeepSpeed loads folders'):
        prepare_strategy(cfg)
    path.unlink()
    path.mkdir()
    prepare_strategy(cfg)


def test_evaluation_is_plain():
    cfg = deepspeed()
    leave_out_strategy(cfg)
    assert cfg.to_dict() == dict(
        launcher='pytorch', optim_wrapper=dict(type='OptimWrapper')
    )
    other = Config(dict(runner_type='Mine', optim_wrapper=dict(type='A')))
    leave_out_strategy(other)
    assert other.runner_type == 'Mine'
