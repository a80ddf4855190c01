"""Trainings through mmengine's FlexibleRunner: FSDP and DeepSpeed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import FlexibleRunner, find_latest_checkpoint

from mmdcls.engine.cpu_runner import join_processes
from mmdcls.engine.strict_checkpoint_hook import StrictCheckpointHook
from mmdcls.errors import ConfigError, IncompatiblePackageError, MissingPackageError

STRATEGIES = (
    'SingleDeviceStrategy',
    'DDPStrategy',
    'FSDPStrategy',
    'mmdcls.FSDPStrategy',
    'DeepSpeedStrategy',
)
DEEPSPEED_WRAPPERS = ('DeepSpeedOptimWrapper', 'mmdcls.DeepSpeedOptimWrapper')


def prepare_strategy(cfg: Config) -> None:
    """Check that a config's ``strategy`` can train, and join the processes on CPUs.

    mmengine's ``FSDPStrategy`` and ``DeepSpeedOptimWrapper`` are replaced by ours.
    Without a ``strategy``, does nothing.

    Raises:
        ConfigError: If it cannot.
        MissingPackageError: If DeepSpeed is asked for and not installed.
        IncompatiblePackageError: If DeepSpeed is too new for mmengine.
    """
    strategy = cfg.get('strategy')
    flexible = cfg.get('runner_type') == 'FlexibleRunner'
    if strategy is None and not flexible:
        return
    if not flexible:
        raise ConfigError(
            f'`strategy`={strategy.get("type")} is for one runner only, and '
            f"runner_type is {cfg.get('runner_type')!r}; set it to 'FlexibleRunner'."
        )
    if cfg.get('compile'):
        raise ConfigError(
            '`compile` is not passed on by FlexibleRunner; leave it out, or leave out '
            'runner_type and strategy.'
        )
    launched = cfg.launcher != 'none'
    kind = _kind(cfg) or ('DDPStrategy' if launched else 'SingleDeviceStrategy')
    if kind not in STRATEGIES:
        raise ConfigError(
            f'`strategy.type`={kind} is not one of {", ".join(STRATEGIES)}.'
        )
    if launched != (kind != 'SingleDeviceStrategy'):
        raise ConfigError(
            f'`strategy.type`={kind} does not go with launcher={cfg.launcher!r}; start '
            'one process with SingleDeviceStrategy, and several by tools/dist_train.sh '
            'with any other.'
        )
    if kind == 'DeepSpeedStrategy':
        _check_deepspeed(cfg)
    if kind == 'FSDPStrategy':
        print_log(
            'FSDPStrategy: mmdcls.FSDPStrategy in its place, which wraps whole stages '
            'and writes whole checkpoints.',
            logger='current',
        )
        strategy.type = 'mmdcls.FSDPStrategy'
    cfg.setdefault('env_cfg', dict(dist_cfg=dict(backend='nccl')))
    if launched and not torch.cuda.is_available():
        if kind == 'DDPStrategy':
            raise ConfigError(
                '`strategy.type`=DDPStrategy needs GPUs, and none is available; leave '
                'out strategy and runner_type to train with DDP on CPUs.'
            )
        join_processes(cfg.launcher, cfg.env_cfg.get('dist_cfg') or {})


def build_model(runner: FlexibleRunner) -> None:
    """Build the runner's model, and check what it will start from.

    The runner itself builds it and initialises its weights in one go.
    """
    model = runner.strategy.build_model(runner.model)
    if not torch.cuda.is_available():
        runner.logger.info(
            'No GPU: every SyncBN takes the statistics of its process alone.'
        )
        model = revert_sync_batchnorm(model)
    runner.model = model
    for hook in runner.hooks:
        if isinstance(hook, StrictCheckpointHook):
            hook.check_init_cfg(model)


def leave_out_strategy(cfg: Config) -> None:
    """Evaluate with the plain runner: a model that fits for this needs no cutting."""
    if cfg.get('runner_type') == 'FlexibleRunner':
        cfg.pop('runner_type')
        cfg.pop('strategy', None)
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') in DEEPSPEED_WRAPPERS:
        cfg.optim_wrapper.type = 'OptimWrapper'


def _kind(cfg: Config) -> str | None:
    kind = (cfg.get('strategy') or {}).get('type')
    return kind if kind is None or isinstance(kind, str) else kind.__name__


def _check_deepspeed(cfg: Config) -> None:
    if importlib.util.find_spec('deepspeed') is None:
        raise MissingPackageError(
            '`strategy.type`=DeepSpeedStrategy needs DeepSpeed, and it is not '
            'installed; `pip install deepspeed` installs it.'
        )
    try:
        one_bit = importlib.util.find_spec('deepspeed.runtime.fp16.onebit')
    except ModuleNotFoundError:
        one_bit = None
    if one_bit is None:
        raise IncompatiblePackageError(
            "`strategy.type`=DeepSpeedStrategy: mmengine imports DeepSpeed's 1-bit "
            'optimizers, which the installed version has not; `pip install '
            "'deepspeed<0.19'` installs one that has them."
        )
    wrapper = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') not in DEEPSPEED_WRAPPERS:
        raise ConfigError(
            f'`optim_wrapper.type`={wrapper.get("type", "OptimWrapper")} does not go '
            "with DeepSpeedStrategy; set it to 'DeepSpeedOptimWrapper'."
        )
    for key, setting in (
        ('accumulative_counts', 'gradient_accumulation_steps'),
        ('clip_grad', 'gradient_clipping'),
    ):
        if key in wrapper:
            raise ConfigError(
                f'`optim_wrapper.{key}` is unknown to DeepSpeedOptimWrapper; leave it '
                f'out and set strategy.{setting}.'
            )
    checkpoint = cfg.get('load_from')
    if cfg.get('resume') and not checkpoint:
        checkpoint = find_latest_checkpoint(cfg.work_dir)
    if checkpoint and not Path(checkpoint).is_dir():
        raise ConfigError(
            f"'{checkpoint}': DeepSpeed loads folders that it wrote, and would pass "
            'over a file; start a backbone from it (`pretrained`), or resume it with '
            'another strategy.'
        )
    cfg.optim_wrapper.type = 'mmdcls.DeepSpeedOptimWrapper'
