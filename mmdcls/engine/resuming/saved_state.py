"""What a checkpoint holds for an exact resumption, and what keeps it from being one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor, nn

from mmdcls.checkpoints import CheckpointError

from .random_states import check_random_states
from .seeded_data import can_be_seeded

STATE_KEY = 'resume_state'
"""Where a checkpoint keeps it."""

# Parts of OpenMMLab that keep something from one iteration to the next which no
# checkpoint has.
_FORGETFUL_HOOKS = {'EarlyStoppingHook': 'counts its patience anew'}
_FORGETFUL_MODULES = {'BatchSyncRandomResize': 'begins with its first size anew'}


def surroundings() -> dict[str, Any]:
    """Return what else has a say in the last bit of a sum."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    return {
        'PyTorch': str(torch.__version__),
        'the device': device,
        'the number of threads': torch.get_num_threads(),
    }


def accumulated_gradients(runner: Runner) -> dict[str, Tensor]:
    """Return the gradients that wait for the optimizer's next step; often none.

    Args:
        runner: A runner after an iteration of its training.

    Returns:
        Gradients on the CPU, by the names of the parameters.
    """
    # Not every optimizer wrapper accumulates.
    should_update = getattr(runner.optim_wrapper, 'should_update', None)
    if should_update is None or should_update():
        return {}
    return {
        name: parameter.grad.detach().cpu().clone()
        for name, parameter in _unwrap(runner.model).named_parameters()
        if parameter.grad is not None
    }


def restore_gradients(model: nn.Module, gradients: Mapping[str, Tensor]) -> None:
    """Give parameters the gradients of :func:`accumulated_gradients`."""
    parameters = dict(_unwrap(model).named_parameters())
    for name, gradient in gradients.items():
        parameters[name].grad = gradient.to(parameters[name].device, copy=True)


def check_optimizer(runner: Runner, checkpoint: Mapping, source: object) -> None:
    """Refuse to go on with another kind of optimizer, whose state cannot be had.

    Raises:
        CheckpointError: If the checkpoint's optimizer is of another class, as far as
            the number of its param groups and the names of their settings tell.
    """
    groups = (checkpoint.get('optimizer') or {}).get('param_groups')
    optimizer = getattr(runner.optim_wrapper, 'optimizer', None)
    own = getattr(optimizer, 'param_groups', None)
    if not isinstance(groups, list) or not isinstance(own, list):
        return
    if len(groups) != len(own):
        raise CheckpointError(
            f"'{source}' cannot be resumed: its optimizer has {len(groups)} param "
            f"groups and the config's has {len(own)}; resume with the config that it "
            'was trained with, or start from its weights (load_from).'
        )
    if missing := sorted(_settings(own) - _settings(groups)):
        raise CheckpointError(
            f"'{source}' cannot be resumed: its optimizer is another one than the "
            f"config's {type(optimizer).__name__}, which needs "
            f"'{missing[0]}'; resume with the config that it was trained with, or "
            'start from its weights (load_from).'
        )


# Settings that came to optimizers in later versions of PyTorch, or that mmengine adds.
_LATER_SETTINGS = {'foreach', 'maximize', 'capturable', 'differentiable', 'fused'}
_LATER_SETTINGS |= {'decoupled_weight_decay', 'initial_lr', 'param_name', 'param_names'}


def _settings(groups: list) -> set[str]:
    return {
        name
        for group in groups
        if isinstance(group, Mapping)
        for name in group
        if name not in _LATER_SETTINGS and not name.startswith('initial_')
    }


def read_saved_state(
    checkpoint: Mapping, model: nn.Module, source: object
) -> dict[str, Any] | None:
    """Take the state out of a checkpoint.

    Args:
        checkpoint: The content of the file.
        model: The model that is resumed.
        source: The file's name, for the message.

    Returns:
        The state, None if the checkpoint has none.

    Raises:
        CheckpointError: If it is no such state; nothing has been changed then.
    """
    saved = checkpoint.get(STATE_KEY)
    if saved is None:
        return None
    try:
        return _checked(saved, dict(_unwrap(model).named_parameters()))
    except (KeyError, TypeError, ValueError) as error:
        reason = f'no {error}' if isinstance(error, KeyError) else str(error)
        raise CheckpointError(
            f"'{source}' cannot be resumed: its {STATE_KEY} is damaged ({reason}); its "
            'weights can be loaded (load_from).'
        ) from error


def _checked(saved: Any, parameters: Mapping[str, nn.Parameter]) -> dict[str, Any]:
    if not isinstance(saved, Mapping) or not isinstance(saved['processes'], list):
        raise ValueError(f'a {type(saved).__name__}')
    seed = saved['sampler_seed']
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**62):
        raise ValueError(f'the seed of its sampler is {seed!r}')
    for state in saved['processes']:
        check_random_states(state['random'])
        for name, gradient in state['gradients'].items():
            parameter = parameters.get(name)
            if parameter is None:
                raise ValueError(f"a gradient of '{name}', which the model has not")
            kinds = [(t.shape, t.dtype) for t in (parameter, torch.as_tensor(gradient))]
            if kinds[0] != kinds[1]:
                raise ValueError(f"a gradient of '{name}' in another shape or type")
    return {
        'processes': saved['processes'],
        'sampler_seed': seed,
        'epoch_length': max(int(saved['epoch_length']), 0),
        'validated': bool(saved['validated']),
        'surroundings': dict(saved['surroundings']),
    }


def limits_of_exactness(
    runner: Runner, checkpoint: Mapping, saved: Mapping | None
) -> list[str]:
    """List what keeps a resumed training from being as if it had not been interrupted.

    Args:
        runner: The runner that resumes.
        checkpoint: The content of the file.
        saved: Its state, as :func:`read_saved_state` gives it.
    """
    limits = list(_limits_of_run(runner))
    if 'optimizer' not in checkpoint:
        limits.append("the checkpoint lacks the optimizer's state")
    if saved is None:
        return [*limits, 'the checkpoint was saved without mmdcls.ExactResumeHook']
    count, world_size = len(saved['processes']), get_world_size()
    if not count:
        limits.append('the checkpoint lacks the random states of its processes')
    elif count != world_size:
        limits.append(f'{count} processes wrote it, and {world_size} go on')
    for name, value in surroundings().items():
        before = saved['surroundings'].get(name)
        if before != value:
            limits.append(f'{name} was {before} and is {value}')
    return limits


def _limits_of_run(runner: Runner) -> list[str]:
    """List what is so whatever the checkpoint."""
    limits = []
    if torch.cuda.is_available() and not runner.deterministic:
        limits.append(
            "a GPU's sums depend on the order in which threads arrive, unless "
            'randomness.deterministic=True'
        )
    loop = runner.train_loop
    if not isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop)):
        limits.append(f'{type(loop).__name__} is no loop that this is known of')
    elif not can_be_seeded(loop.dataloader):
        limits.append('its data cannot be asked for by index')
    names = {type(hook).__name__ for hook in runner.hooks}
    limits += [f'{n} {what}' for n, what in _FORGETFUL_HOOKS.items() if n in names]
    names = {type(module).__name__ for module in _unwrap(runner.model).modules()}
    limits += [f'{n} {what}' for n, what in _FORGETFUL_MODULES.items() if n in names]
    return limits


def _unwrap(model: Any) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
