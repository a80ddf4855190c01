"""mmengine's FSDP, on GPUs and CPUs, with checkpoints that any run loads."""

from __future__ import annotations

from typing import Any

import torch
from mmengine._strategy import FSDPStrategy as _FSDPStrategy
from mmengine.optim import BaseOptimWrapper
from torch import nn
from torch.distributed.fsdp import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    FullyShardedDataParallel,
)

from mmdcls.checkpoints import CheckpointError
from mmdcls.errors import ConfigError
from mmdcls.registry import STRATEGIES

from .sharding import plain_name


@STRATEGIES.register_module()
class FSDPStrategy(_FSDPStrategy):
    """Shard a model by FSDP as mmengine does, stage by stage.

    Differs from the parent in that

    - stages with shared positions are wrapped as one (:func:`wrap_stages`),
    - it trains on CPUs as well,
    - checkpoints are whole, in the format of a run in one process, optimizer included,
      so that either can go on from the other's.

    Args:
        model_wrapper: As in the parent; without ``auto_wrap_policy``, it is
            ``'mmdcls.wrap_stages'``.
        state_dict_cfg: As in the parent; accepted is ``'full'``.
        **kwargs: The remaining arguments of the parent.

    Raises:
        ConfigError: If ``state_dict_cfg`` or ``use_orig_params`` has a value that
            cannot work, or if gradients are to be clipped by their norm, which mmengine
            would take of the pieces of each process.
    """

    def __init__(
        self,
        *,
        model_wrapper: dict | None = None,
        state_dict_cfg: str = 'full',
        **kwargs,
    ) -> None:
        if state_dict_cfg != 'full':
            raise ConfigError(
                f"strategy.state_dict_cfg={state_dict_cfg!r}: accepted is 'full', with "
                'checkpoints that a run in one process can load.'
            )
        wrapper = dict(
            type='MMFullyShardedDataParallel',
            auto_wrap_policy='mmdcls.wrap_stages',
            use_orig_params=True,
        )
        wrapper.update(model_wrapper or {})
        if not wrapper['use_orig_params']:
            raise ConfigError(
                'strategy.model_wrapper.use_orig_params=False mixes positions with '
                'weights, so that they cannot have a learning rate of their own; '
                'accepted is True.'
            )
        on_cpus = not torch.cuda.is_available()
        if on_cpus:
            wrapper['device_id'] = torch.device('cpu')
        super().__init__(model_wrapper=wrapper, state_dict_cfg=state_dict_cfg, **kwargs)
        if on_cpus:
            # Offloading from a CPU leaves tensors of memory that FSDP then frees.
            self.state_dict_config = FullStateDictConfig()
            self.optim_state_dict_config = FullOptimStateDictConfig()

    def build_optim_wrapper(
        self, optim_wrapper: Any, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        """Build the optimizer wrapper, as the parent does."""
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        if getattr(wrapper, 'clip_grad_kwargs', None):
            raise ConfigError(
                'optim_wrapper.clip_grad: with FSDP mmengine would take the norm of '
                "each process's pieces alone; leave it out."
            )
        return wrapper

    def optim_state_dict(self) -> dict:
        """Return the optimizer's state in the format of an unsharded one.

        All processes must call this; the state is in the first.
        """
        optimizer = self.optim_wrapper.optimizer
        named = FullyShardedDataParallel.optim_state_dict(self.model, optimizer)
        if not named:
            return named
        numbers = {name: number for number, name in enumerate(self._names())}
        return {
            # The loss scaler's, too.
            **self.optim_wrapper.state_dict(),
            'state': {numbers[name]: value for name, value in named['state'].items()},
            'param_groups': [
                {**group, 'params': [numbers[name] for name in group['params']]}
                for group in named['param_groups']
            ],
        }

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state of an optimizer, sharded or not, in an unsharded one's format.

        Raises:
            CheckpointError: If it is the state of another number of parameters.
        """
        names = self._names()
        saved = [n for group in state_dict['param_groups'] for n in group['params']]
        if len(saved) != len(names):
            raise CheckpointError(
                f"The checkpoint's optimizer has {len(saved)} parameters, and the "
                f"config's has {len(names)}; they must be equal to resume."
            )
        name_of = dict(zip(saved, names, strict=True))
        named = {
            'state': {name_of[n]: value for n, value in state_dict['state'].items()},
            'param_groups': [
                {**group, 'params': [name_of[n] for n in group['params']]}
                for group in state_dict['param_groups']
            ],
        }
        optimizer = self.optim_wrapper.optimizer
        cut = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=named
        )
        self.optim_wrapper.load_state_dict({**state_dict, **cut})

    def _names(self) -> list[str]:
        """Name the optimizer's parameters, in the order that it numbers them by."""
        names = {id(p): plain_name(name) for name, p in self.model.named_parameters()}
        groups = self.optim_wrapper.optimizer.param_groups
        return [names[id(param)] for group in groups for param in group['params']]
