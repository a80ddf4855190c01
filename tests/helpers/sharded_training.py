"""What FSDP shows of positions, in two processes; each function runs in both.

A module of its own, because a spawned process must be able to import what it runs.
"""

import logging
import os
import socket
import traceback
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.runner import FlexibleRunner
from torch import nn

from helpers.engine_runs import SmallModel, run
from mmdcls.errors import MmdclsError
from mmdcls.layers import DCLSConv2d, iter_dcls_layers


class TwoStages(SmallModel):
    """Two stages, the second with kernels that are not square, and a head."""

    def __init__(self):
        super().__init__()
        self.conv = nn.ModuleList(
            _stage(size, padding) for size, padding in ((7, 3), ((5, 9), (2, 4)))
        )

    def forward(self, images, targets=None, mode='tensor'):
        for stage in self.conv:
            images = stage(images)
        outputs = self.head(images.mean((2, 3))).squeeze(1)
        if mode == 'loss':
            return {'loss_square': ((outputs - targets) ** 2).mean()}
        return list(outputs)


def _stage(size, padding):
    first = DCLSConv2d(3, 3, 5, size, padding=padding, groups=3)
    second = DCLSConv2d(
        3, 3, 5, size, padding=padding, groups=3, positions=first.positions
    )
    return nn.Sequential(first, second)


def make_model():
    torch.manual_seed(1)
    return TwoStages()


def in_two_processes(function, *args):
    """Run a function of this module; an error of either process is raised here."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    mp.spawn(_start, (port, function, args), nprocs=2)


def _start(rank, port, function, args):
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
    )
    dist.init_process_group('gloo')
    try:
        function(*args)
    except BaseException:
        traceback.print_exc()
        # The other process may wait for this one for ever.
        os._exit(1)
    dist.barrier()
    dist.destroy_process_group()


def train(work_dir, model=None, strategy=None, **kwargs):
    """Train by FSDP; returns the runner."""
    strategy = dict(type='mmdcls.FSDPStrategy', **(strategy or {}))
    runner = partial(FlexibleRunner, strategy=strategy, launcher='pytorch')
    return run(
        Path(work_dir), model=model or make_model(), runner_class=runner, **kwargs
    )


def whole_positions(runner):
    from mmdcls.engine.sharding import whole_parameters

    with whole_parameters(runner.model):
        return [
            layer.positions.detach().clone() for layer in iter_dcls_layers(runner.model)
        ]


def refusal_of(action):
    """The sentence of the error that an action ends in."""
    try:
        action()
    except MmdclsError as error:
        return str(error)
    raise AssertionError('no error')


def check_all(folder):
    """Each part in a folder of its own."""
    for part in (
        clamps_every_axis_to_its_limit,
        keeps_rates_and_decay,
        refuses_what_cannot_work,
        stops_at_nan,
        starts_from_a_checkpoint_of_one_process,
    ):
        (folder / part.__name__).mkdir(exist_ok=True)
        part(folder / part.__name__)


def clamps_every_axis_to_its_limit(folder):
    wrapper = dict(
        constructor='mmdcls.DCLSOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=1.0),
        paramwise_cfg=dict(positions_lr_mult=1e6),
    )
    hook = dict(type='mmdcls.ClampPositionsHook')
    options = dict(max_epochs=1, optim_wrapper=wrapper)
    beyond = whole_positions(train(folder, **options))
    assert max(float(p.abs().max()) for p in beyond) > 4
    positions = whole_positions(train(folder, **options, custom_hooks=[hook]))
    farthest = [p.abs().amax((1, 2, 3)).tolist() for p in positions]
    assert farthest == [[3, 3], [3, 3], [2, 4], [2, 4]]
    # One tensor a stage, still.
    assert torch.equal(positions[0], positions[1])


def keeps_rates_and_decay(folder):
    """As in one process, by the whole shapes of parameters that are cut."""
    from mmdcls.engine.sharding import plain_name

    wrapper = dict(
        constructor='mmdcls.DCLSOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.05),
        paramwise_cfg=dict(
            flat_decay_mult=0.0, custom_keys={'conv.1.0': dict(lr_mult=3.0)}
        ),
    )
    plain = run(folder / 'plain', model=make_model(), optim_wrapper=wrapper)
    sharded = train(folder, optim_wrapper=wrapper)

    def options(runner):
        names = {id(p): plain_name(n) for n, p in runner.model.named_parameters()}
        return {
            names[id(group['params'][0])]: (group['initial_lr'], group['weight_decay'])
            for group in runner.optim_wrapper.optimizer.param_groups
        }

    assert options(sharded) == options(plain)
    assert options(sharded)['conv.0.0.positions'] == (0.05, 0.0)
    assert options(sharded)['conv.1.0.positions'] == (0.15, 0.0)
    assert options(sharded)['conv.0.0.weight'] == (0.01, 0.05)
    assert options(sharded)['conv.0.0.bias'] == (0.01, 0.0)


def refuses_what_cannot_work(folder):
    apart = dict(model_wrapper=dict(auto_wrap_policy=_wrap_layers))
    assert 'conv.0.0 and conv.0.1 share their positions and are wrapped apart' in (
        refusal_of(lambda: train(folder, strategy=apart))
    )
    mixed = dict(model_wrapper=dict(use_orig_params=False))
    assert 'use_orig_params=False' in refusal_of(lambda: train(folder, strategy=mixed))
    local = dict(state_dict_cfg='local')
    assert "accepted is 'full'" in refusal_of(lambda: train(folder, strategy=local))
    hooks = [dict(type='mmdcls.ClampPositionsHook'), dict(type='EMAHook')]
    assert 'EMAHook cannot copy a model' in (
        refusal_of(lambda: train(folder, custom_hooks=hooks))
    )
    clip = dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=dict(max_norm=1.0))
    assert 'optim_wrapper.clip_grad' in (
        refusal_of(lambda: train(folder, optim_wrapper=clip))
    )


def _wrap_layers(module, recurse, nonwrapped_numel):
    return recurse or isinstance(module, DCLSConv2d)


def stops_at_nan(folder):
    """Each process looks at its piece, so that one may go on for a moment."""
    model = make_model()
    with torch.no_grad():
        model.conv[0][0].positions.fill_(float('nan'))
    hooks = [dict(type='mmdcls.ClampPositionsHook')]
    message = refusal_of(lambda: train(folder, model, custom_hooks=hooks))
    assert 'conv.0.0.positions became NaN' in message


def starts_from_a_checkpoint_of_one_process(folder):
    """Strictly: its tensors are compared with the whole ones, not with pieces."""
    check = [dict(type='mmdcls.StrictCheckpointHook')]
    torch.manual_seed(5)
    started = TwoStages()
    path = folder / f'{dist.get_rank()}.pth'
    torch.save({'state_dict': started.state_dict()}, path)
    wrapper = dict(optimizer=dict(type='SGD', lr=0.0))
    options = dict(optim_wrapper=wrapper, custom_hooks=check, load_from=str(path))
    trained = train(folder, **options)
    expected = [layer.positions for layer in iter_dcls_layers(started)]
    for positions, others in zip(whole_positions(trained), expected, strict=True):
        assert torch.equal(positions, others)
    unfit = dict(started.state_dict())
    unfit.pop('head.bias')
    torch.save({'state_dict': unfit}, path)
    assert "no 'head.bias'" in refusal_of(lambda: train(folder, **options))
