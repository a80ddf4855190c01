"""Whether a hook counts epochs or iterations, and whether its turn ever comes."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from mmdcls.errors import ArgumentError
from mmdcls.layers import DCLSConvNd, named_dcls_layers


def counts_epochs(hook: Hook, runner: Runner, by_epoch: bool | None) -> bool:
    """Tell whether a hook counts epochs; by default it counts what the training does.

    Args:
        hook: The hook that asks, for the message.
        runner: Gives the training loop.
        by_epoch: The setting of the hook; None stands for what the loop counts.

    Raises:
        ArgumentError: If the hook is to count epochs in a training that has none.
    """
    iterations_only = isinstance(runner.train_loop, IterBasedTrainLoop)
    if by_epoch and iterations_only:
        raise ArgumentError(
            f'{type(hook).__name__}: by_epoch=True does not go with this training, '
            'which counts iterations and has no epochs; leave by_epoch out, or set '
            'it to False.'
        )
    return not iterations_only if by_epoch is None else by_epoch


def check_turn_comes(
    hook: Hook, runner: Runner, argument: str, first: int, by_epoch: bool
) -> None:
    """Stop a training in which a hook would never act.

    Args:
        hook: The hook that asks, for the message.
        runner: Gives the training loop.
        argument: The hook's argument that decides when it first acts.
        first: The number of epochs or iterations that must be complete before that.
        by_epoch: Whether these are epochs, and not iterations.

    Raises:
        ArgumentError: If the training is over by then.
    """
    loop = runner.train_loop
    length = loop.max_epochs if by_epoch else loop.max_iters
    if first > length:
        raise ArgumentError(
            f'{type(hook).__name__}: {argument}={getattr(hook, argument)} lies behind '
            f'the end of this training of {length} '
            f'{"epochs" if by_epoch else "iterations"}, so that the hook would never '
            'act; choose a smaller value or leave the hook out.'
        )


def dcls_layers_of(hook: Hook, model: nn.Module) -> dict[str, DCLSConvNd]:
    """Give the layers that a hook is for, by their names in the model.

    Raises:
        ArgumentError: If there are none, so that the hook would have no effect.
    """
    layers = dict(named_dcls_layers(model))
    if not layers:
        model = getattr(model, 'module', model)
        raise ArgumentError(
            f'{type(hook).__name__} needs layers with learnable positions, and '
            f'{type(model).__name__} has none; leave the hook out.'
        )
    return layers
