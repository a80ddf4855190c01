"""Add the repulsive loss of positions to any model's training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmdcls.errors import ArgumentError
from mmdcls.layers import DCLSConvNd
from mmdcls.layers.repulsive_loss import combine, repulsion, repulsive_loss
from mmdcls.registry import HOOKS

from .loops import check_turn_comes, counts_epochs, dcls_layers_of
from .sharding import layers_by_unit, unwrap, whole_parameters

# The authors train with it "after epoch 20" of 300, by an index that starts at 0.
_FIRST_EPOCH, _EPOCHS = 21, 300


@HOOKS.register_module()
class RepulsiveLossHook(Hook):
    """Add ``loss_repulsive`` to the losses that a model returns in training.

    Paper §3, "Repulsive loss". A forward hook on the model adds the term to its
    dictionary of losses, so that it is summed, scaled, differentiated and logged with
    the others, whatever the task and under DDP, FSDP, DeepSpeed and AMP alike.

    Args:
        begin: The first epoch (or iteration) that has the loss, counted from 0. By
            default 21, which is after the 20th as in the authors' code (paper
            Appendix F); where iterations are counted, the same share of the training,
            21 of 300.
        by_epoch: Count ``begin`` in epochs or in iterations; by default in what the
            training loop counts.
        weight: Factor of the loss.

    Raises:
        ArgumentError: If ``begin`` or ``weight`` is negative; when the training starts,
            if ``begin`` lies behind its end, if it has no epochs to count, or if the
            model has no DCLS layer or one of a single element.
    """

    def __init__(
        self,
        begin: int | None = None,
        by_epoch: bool | None = None,
        weight: float = 1.0,
    ) -> None:
        if (begin or 0) < 0 or weight < 0:
            raise ArgumentError(
                f'RepulsiveLossHook: begin={begin} and weight={weight} must not be '
                'negative.'
            )
        self.begin = begin
        self.by_epoch = by_epoch
        self.weight = weight

    def before_train(self, runner: Runner) -> None:
        """Hook into the model, after a check that there is something to repel."""
        model = unwrap(runner.model)
        dcls_layers_of(self, model)
        with whole_parameters(runner.model):
            repulsive_loss(model)
        by_epoch = counts_epochs(self, runner, self.by_epoch)
        if self.begin is None:
            self.begin = (
                _FIRST_EPOCH
                if by_epoch
                else round(runner.train_loop.max_iters * _FIRST_EPOCH / _EPOCHS)
            )
        check_turn_comes(self, runner, 'begin', self.begin + 1, by_epoch)

        def is_on() -> bool:
            return (runner.epoch if by_epoch else runner.iter) >= self.begin

        self._add_to_losses(model, layers_by_unit(runner.model), is_on)

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()

    def _add_to_losses(
        self,
        model: nn.Module,
        units: dict[nn.Module, list[DCLSConvNd]],
        is_on: Callable[[], bool],
    ) -> None:
        """Have each module whose positions are whole as it runs repel them then."""
        outer: list[DCLSConvNd] = []
        kept: dict[nn.Module, list[Tensor]] = {}
        self._handles = []

        def keep(unit: nn.Module, layers: list[DCLSConvNd]) -> Callable:
            def hook(module: nn.Module, args: tuple, output: object) -> None:
                if is_on() and torch.is_grad_enabled():
                    # FSDP takes the positions away before the backward pass.
                    copies = [layer.positions.clone() for layer in layers]
                    kept[unit] = [repulsion(positions) for positions in copies]

            return hook

        for unit, layers in units.items():
            inside = getattr(unit, '_fsdp_wrapped_module', model)
            if inside is model:
                outer += layers
            else:
                self._handles.append(inside.register_forward_hook(keep(unit, layers)))

        def add_loss(
            module: nn.Module, args: tuple, kwargs: dict, losses: object
        ) -> object:
            if not isinstance(losses, dict) or not is_on():
                return losses
            terms = [repulsion(layer.positions) for layer in outer]
            terms += [term for unit in units for term in kept.pop(unit, ())]
            return {**losses, 'loss_repulsive': self.weight * combine(terms)}

        self._handles.append(model.register_forward_hook(add_loss, with_kwargs=True))
