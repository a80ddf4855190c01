"""Add the repulsive loss of positions to any model's training."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmdcls.layers.repulsive_loss import repulsive_loss
from mmdcls.registry import HOOKS


@HOOKS.register_module()
class RepulsiveLossHook(Hook):
    """Add ``loss_repulsive`` to the losses that a model returns in training.

    Paper §3, "Repulsive loss". A forward hook on the model adds the term to its
    dictionary of losses, so that it is summed, scaled, differentiated and logged with
    the others, whatever the task and under DDP and AMP alike.

    Args:
        begin: The first epoch (or iteration) that has the loss, counted from 0. Paper
            Appendix F introduces it at epoch 20.
        by_epoch: Count ``begin`` in epochs or in iterations.
        weight: Factor of the loss.

    Raises:
        ValueError: If ``begin`` or ``weight`` is negative; when the training starts, if
            the model has no DCLS layer or one of a single element.
    """

    def __init__(
        self, begin: int = 20, by_epoch: bool = True, weight: float = 1.0
    ) -> None:
        if begin < 0 or weight < 0:
            raise ValueError(
                f'RepulsiveLossHook: begin={begin} and weight={weight} must not be '
                'negative.'
            )
        self.begin = begin
        self.by_epoch = by_epoch
        self.weight = weight

    def before_train(self, runner: Runner) -> None:
        """Hook into the model, after a check that there is something to repel."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        repulsive_loss(model)

        def add_loss(
            module: nn.Module, args: tuple, kwargs: dict, losses: object
        ) -> object:
            step = runner.epoch if self.by_epoch else runner.iter
            if not isinstance(losses, dict) or step < self.begin:
                return losses
            loss = self.weight * repulsive_loss(module)
            return {**losses, 'loss_repulsive': loss}

        self._handle = model.register_forward_hook(add_loss, with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        self._handle.remove()
