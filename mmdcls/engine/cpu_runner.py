"""Several processes on a machine without accelerator, which mmengine refuses."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from mmengine.dist import init_dist, is_distributed
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner
from torch import nn
from torch.distributed.constants import default_pg_timeout

from mmdcls.errors import ArgumentError
from mmdcls.registry import RUNNERS


@RUNNERS.register_module()
class CPURunner(Runner):
    """mmengine's Runner whose processes share their work on CPUs, by gloo.

    As with one process, mmengine's ``Runner`` turns synchronised batch normalisation,
    which PyTorch has for accelerators only, into that of each process alone.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Join the launcher's processes, then do as mmengine does.

        Args:
            env_cfg: The settings of the environment, as in the parent.

        Raises:
            ArgumentError: If the launcher is not PyTorch's.
        """
        if self.distributed:
            join_processes(self.launcher, env_cfg.get('dist_cfg') or {})
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for DDP without a GPU of its own.

        Args:
            model_wrapper_cfg: The config of the wrapper, as in the parent.
            model: The model.
        """
        if self.distributed:
            self.logger.info(
                'No GPU: every SyncBN takes the statistics of its process alone.'
            )
            model = revert_sync_batchnorm(model)
            model_wrapper_cfg = {
                'broadcast_buffers': False,
                'find_unused_parameters': self.cfg.get('find_unused_parameters', False),
                **(model_wrapper_cfg or {}),
                'device_ids': None,
            }
        return super().wrap_model(model_wrapper_cfg, model)


def check_launcher(launcher: str) -> None:
    """Refuse environment variables by which processes cannot find each other.

    Args:
        launcher: As in :func:`join_processes`; those of others than ``'pytorch'`` are
            left to mmengine.

    Raises:
        ArgumentError: If a variable that torchrun sets is missing or cannot be.
    """
    if launcher != 'pytorch':
        return
    numbers = {}
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        value = os.environ.get(name)
        if not value:
            raise ArgumentError(
                f'`launcher`=pytorch needs the environment variable {name}, which '
                'torchrun sets; tools/dist_train.sh and tools/dist_test.sh call it.'
            )
        if name != 'MASTER_ADDR':
            numbers[name] = int(value) if value.isdecimal() else -1
    size = numbers['WORLD_SIZE']
    for name, lowest, highest in (
        ('WORLD_SIZE', 1, size),
        ('RANK', 0, size - 1),
        ('LOCAL_RANK', 0, size - 1),
        # 0 lets the system choose, which one process alone may do.
        ('MASTER_PORT', 0, 65535),
    ):
        if not lowest <= numbers[name] <= highest:
            raise ArgumentError(
                f'The environment variable {name}={os.environ[name]!r} cannot be, with '
                f'WORLD_SIZE={os.environ["WORLD_SIZE"]!r}.'
            )


def join_processes(launcher: str, dist_cfg: dict) -> None:
    """Let a launcher's processes find each other, on GPUs or, without any, on CPUs.

    Does nothing where they did already.

    Args:
        launcher: ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        dist_cfg: ``env_cfg.dist_cfg`` of a config.

    Raises:
        ArgumentError: If there is no GPU and the launcher is not PyTorch's.
    """
    if is_distributed():
        return
    check_launcher(launcher)
    if torch.cuda.is_available():
        init_dist(launcher, **dist_cfg)
        return
    if launcher != 'pytorch':
        raise ArgumentError(
            f"`launcher`={launcher} needs GPUs, and none is available; 'pytorch' works "
            'without.'
        )
    # mmengine's init_dist chooses a GPU for each process whatever the backend.
    seconds = dist_cfg.get('timeout')
    timeout = default_pg_timeout if seconds is None else timedelta(seconds=seconds)
    torch.distributed.init_process_group('gloo', timeout=timeout)
