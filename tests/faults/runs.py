"""Run the trainings of ``trainings.py``, interrupt them, compare what they leave."""

import itertools
import multiprocessing
import os
import socket
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmdcls.apis.launch import build_runner, use_exact_resuming
from mmdcls.checkpoints import read_checkpoint

from .trainings import config_of

COMPARED = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
COMPARED += ('resume_state', 'position_statistics')
"""The parts of a checkpoint that have to be the same, bit for bit."""

# As many as are needed to learn something; enough for a checkpoint and what follows.
LENGTH = 2


# Processes are forked off one that has imported everything and has done nothing yet.
_context = multiprocessing.get_context('forkserver')
_context.set_forkserver_preload(
    ['faults.runs']
    + [
        f'{package}.{part}'
        for package, part in itertools.product(
            ('mmpretrain', 'mmseg', 'mmdet'), ('models', 'datasets', 'evaluation')
        )
    ]
)


class Interrupted(Exception):
    """A training has come to the place where it was to be interrupted."""


class Interrupt(Hook):
    """Stop a training as a failure would, before an iteration."""

    priority = 'LOWEST'

    def __init__(self, before):
        self.before = before

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.before:
            raise Interrupted


def train(
    setting, data, work_dir, before=None, exact=True, change=None, hooks=(), **options
):
    """Train in this process; returns the runner.

    Args:
        setting: A Setting.
        data: The folder of its data.
        work_dir: The folder of the training.
        before: The iteration before which it is interrupted.
        exact: Whether to use the hooks that are tested, or mmengine's alone.
        change: A function that changes the config.
        hooks: Hooks to register besides.
        **options: Entries of the config, such as ``resume=True``.
    """
    cfg = Config(config_of(setting, data, LENGTH), format_python_code=False)
    cfg.merge_from_dict({'launcher': 'none', 'resume': False, 'load_from': None})
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'{work_dir}-{time.monotonic_ns()}'
    cfg.merge_from_dict(options)
    if change is not None:
        change(cfg)
    if exact:
        use_exact_resuming(cfg)
    runner = build_runner(cfg, partial_checkpoint=not cfg.resume)
    for hook in hooks if before is None else [*hooks, Interrupt(before)]:
        runner.register_hook(hook)
    try:
        runner.train()
    except Interrupted:
        # What a killed process would leave to nobody.
        runner.train_loop.dataloader_iterator = None
    return runner


def start(setting, data, work_dir, **options):
    """Train in processes of their own; returns them."""
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    processes = [
        _context.Process(
            target=_train_as, args=(setting, data, work_dir, rank, port, options)
        )
        for rank in range(setting.processes)
    ]
    for process in processes:
        process.start()
    return processes


def _train_as(setting, data, work_dir, rank, port, options):
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    log = os.open(Path(work_dir, f'{rank}.txt'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    if setting.processes > 1:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(setting.processes),
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port),
        )
        options = {**options, 'launcher': 'pytorch'}
    train(setting, data, work_dir, **options)


def wait(processes):
    """Wait for processes; returns whether all ended well."""
    for process in processes:
        process.join()
    return not any(process.exitcode for process in processes)


def last_checkpoint(work_dir):
    """Return the content of a training's last checkpoint."""
    return read_checkpoint(Path(work_dir, 'last_checkpoint').read_text())


def differences(one, other, key=''):
    """List the keys under which two checkpoints are not the same, bit for bit."""
    if key == '':
        one = {part: one.get(part) for part in COMPARED}
        other = {part: other.get(part) for part in COMPARED}
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and torch.equal(one, other)
        return [] if same else [key]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        parts = [(name, one[name], other[name]) for name in one]
    elif isinstance(one, (list, tuple)) and len(one) == len(other or ()):
        parts = [(i, *pair) for i, pair in enumerate(zip(one, other, strict=True))]
    else:
        return [] if one == other else [key]
    return [d for name, a, b in parts for d in differences(a, b, f'{key}/{name}')]
