"""A training of two steps by every engine and technique, on one small model."""

from __future__ import annotations

import copy
import importlib.util
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from mmdcls.apis.launch import build_runner
from mmdcls.registry import DATASETS

CLASSES, IMAGES, BATCH = 3, 16, 4
MOMENTUM = 0.25
"""Of the average of weights."""


@DATASETS.register_module()
class RandomImages(Dataset):
    """Labelled images of noise, the same in every process."""

    metainfo = {'classes': ('a', 'b', 'c')}

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(3, 64, 64, generator=generator)
        return dict(
            inputs=image, data_samples=DataSample().set_gt_label(index % CLASSES)
        )


@dataclass(frozen=True)
class Engine:
    """A way to train.

    Attributes:
        name: Names it in the table, and its folder.
        settings: What it changes of the plain run's config.
        processes: The number of processes, which share the images of a step.
        steps: The steps of the optimizer at the end of which weights are compared.
        iterations: The iterations that these are.
        batch: Images of an iteration, of all processes.
        reference: The name of the run that it is compared with.
        tolerance: How much weights may differ, as a share of the way that the farthest
            has come. Positions come little of their size in two steps, so that the last
            bit of float32 shows.
        start: The name of a run whose checkpoint it goes on from.
        requires: A package that it needs.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    steps: int = 2
    iterations: int = 2
    batch: int = BATCH
    reference: str = 'plain'
    tolerance: float = 1e-4
    start: str = ''
    requires: str = ''


def _fsdp(**wrapper: Any) -> dict:
    strategy = dict(type='mmdcls.FSDPStrategy', model_wrapper=wrapper)
    return dict(runner_type='FlexibleRunner', strategy=strategy)


def _deepspeed(stage: int) -> dict:
    strategy = dict(
        type='DeepSpeedStrategy',
        zero_optimization=dict(stage=stage),
        config=dict(zero_allow_untested_optimizer=True),
    )
    return {
        'runner_type': 'FlexibleRunner',
        'strategy': strategy,
        'optim_wrapper.type': 'DeepSpeedOptimWrapper',
        # A file that any run loads, in place of DeepSpeed's folder.
        'default_hooks.checkpoint.save_optimizer': False,
    }


FROZEN = {'model.backbone.frozen_stages': 1}
CHECKPOINTED = {'model.backbone.with_cp': True}

REFERENCES = (
    Engine('plain', steps=4, iterations=4),
    Engine('frozen', FROZEN),
)
"""Runs in one process by mmengine's Runner, without any technique."""

ENGINES = (
    Engine('DDP', processes=2),
    Engine(
        'DDP, find_unused_parameters, a frozen stage',
        {**FROZEN, 'find_unused_parameters': True},
        processes=2,
        reference='frozen',
    ),
    Engine('DDP, with_cp', CHECKPOINTED, processes=2),
    Engine(
        'gradient accumulation over 2 iterations',
        {'optim_wrapper.accumulative_counts': 2},
        iterations=4,
        batch=BATCH // 2,
    ),
    Engine('activation checkpointing (with_cp)', CHECKPOINTED),
    Engine(
        'EMA, update_buffers=True',
        {
            'custom_hooks': [
                dict(
                    type='EMAHook',
                    ema_type='mmdcls.ExponentialMovingAverage',
                    momentum=MOMENTUM,
                    update_buffers=True,
                )
            ]
        },
        reference='average of plain',
    ),
    Engine('torch.compile', {'compile': True}),
    Engine(
        'AMP in bfloat16',
        {'optim_wrapper.type': 'mmdcls.CPUAmpOptimWrapper'},
        tolerance=0.1,
    ),
    Engine('FSDP, FULL_SHARD', _fsdp(), processes=2),
    Engine(
        'FSDP, SHARD_GRAD_OP',
        _fsdp(sharding_strategy='SHARD_GRAD_OP'),
        processes=2,
    ),
    Engine('FSDP, with_cp', {**_fsdp(), **CHECKPOINTED}, processes=2),
    Engine(
        'FSDP, a frozen stage', {**_fsdp(), **FROZEN}, processes=2, reference='frozen'
    ),
    Engine(
        'FSDP, gradient accumulation',
        {**_fsdp(), 'optim_wrapper.accumulative_counts': 2},
        processes=2,
        iterations=4,
        batch=BATCH // 2,
    ),
    Engine(
        'FSDP, resumed from one process',
        _fsdp(),
        processes=2,
        steps=4,
        iterations=4,
        start='plain',
    ),
    Engine(
        'one process, resumed from FSDP',
        steps=4,
        iterations=4,
        start='FSDP, FULL_SHARD',
    ),
    *(
        Engine(
            f'DeepSpeed, ZeRO {stage}',
            _deepspeed(stage),
            processes=2,
            requires='deepspeed',
        )
        for stage in (0, 1, 2)
    ),
)
"""What is compared with them."""


def make_config(engine: Engine, folder: Path) -> Config:
    """Make the config of a run that writes its checkpoints to a folder of its name."""
    backbone = dict(
        type='mmdcls.ConvNeXtDCLS',
        arch=dict(depths=[1, 2, 2, 1], channels=[8, 16, 24, 32]),
        # Some positions start at the border of so small a kernel: clamping counts.
        dilated_kernel_size=3,
        kernel_count=5,
        layer_scale_init_value=1.0,
    )
    cfg = Config(
        dict(
            model=dict(
                type='ImageClassifier',
                backbone=backbone,
                head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=32),
            ),
            train_dataloader=dict(
                batch_size=engine.batch // engine.processes,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type='mmdcls.RandomImages'),
            ),
            train_cfg=dict(by_epoch=False, max_iters=engine.iterations),
            # Adam would make steps of full length of rounding errors.
            optim_wrapper=dict(
                type='OptimWrapper',
                constructor='mmdcls.DCLSOptimWrapperConstructor',
                optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=0.05),
            ),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)
            ),
            custom_hooks=[
                dict(type='mmdcls.ClampPositionsHook'),
                dict(type='mmdcls.RepulsiveLossHook', begin=0),
                dict(type='mmdcls.PositionStatisticsHook', interval=1),
            ],
            default_scope='mmpretrain',
            randomness=dict(seed=0),
            launcher='none' if engine.processes == 1 else 'pytorch',
            work_dir=str(folder_of(engine.name, folder)),
            log_level='ERROR',
        )
    )
    settings = copy.deepcopy(engine.settings)
    cfg.custom_hooks += settings.pop('custom_hooks', [])
    cfg.merge_from_dict(settings)
    if engine.start:
        cfg.resume = True
        cfg.load_from = str(checkpoint_of(engine.start, folder, iteration=2))
    return cfg


def folder_of(name: str, folder: Path) -> Path:
    """Return the folder of the run of this name."""
    return folder / ''.join(c if c.isalnum() else '_' for c in name)


def checkpoint_of(name: str, folder: Path, iteration: int) -> Path:
    """Return the checkpoint that the run of this name wrote after an iteration."""
    return folder_of(name, folder) / f'iter_{iteration}.pth'


class _SaveStart(Hook):
    """Save the weights that a training starts from."""

    def before_train(self, runner: Runner) -> None:
        path = Path(runner.work_dir, 'start.pth')
        torch.save({'state_dict': runner.model.state_dict()}, path)


def train(engine: Engine, folder: Path) -> None:
    """Train in this process, or in this one of several."""
    runner = build_runner(make_config(engine, folder), partial_checkpoint=False)
    if engine in REFERENCES:
        runner.register_hook(_SaveStart())
    runner.train()


def train_all(engines: Sequence[Engine], folder: Path) -> None:
    """Train by engines one after the other, those that need two processes in two."""
    several = [engine for engine in engines if engine.processes > 1]
    groups = [[engine for engine in several if not engine.requires]]
    # A process takes one DeepSpeedStrategy: mmengine registers its optimizers with it.
    groups += [[engine] for engine in several if engine.requires]
    # Those that go on from another's checkpoint wait for it.
    for engine in (e for e in engines if e.processes == 1 and not e.start):
        train(engine, folder)
    for group in filter(None, groups):
        mp.spawn(_train_in_one_of_two, (group, folder, _free_port()), nprocs=2)
    for engine in (e for e in engines if e.processes == 1 and e.start):
        train(engine, folder)


def can_run(engine: Engine) -> bool:
    """Tell whether what the engine needs is installed."""
    return not engine.requires or importlib.util.find_spec(engine.requires) is not None


def _train_in_one_of_two(
    rank: int, engines: Sequence[Engine], folder: Path, port: int
) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    for engine in engines:
        train(engine, folder)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]
