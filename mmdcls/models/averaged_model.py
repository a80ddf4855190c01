"""Averages of models in which layers share tensors."""

from __future__ import annotations

from mmengine.model import ExponentialMovingAverage as _ExponentialMovingAverage
from torch import Tensor, nn

from mmdcls.registry import MODELS


@MODELS.register_module()
class ExponentialMovingAverage(_ExponentialMovingAverage):
    """mmengine's average, with each tensor averaged once whatever ``update_buffers``.

    With ``update_buffers=True`` the parent goes through the state dict, where positions
    that the blocks of a stage share stand once for each of them. To be used as
    ``dict(type='EMAHook', ema_type='mmdcls.ExponentialMovingAverage',
    update_buffers=True)``.

    Args:
        model: The model to be averaged.
        **kwargs: The remaining arguments of the parent.
    """

    avg_parameters: dict[str, Tensor]

    def __init__(self, model: nn.Module, **kwargs) -> None:
        super().__init__(model, **kwargs)
        # These leave out what they have met under another name.
        names = dict(self.module.named_parameters())
        names.update(self.module.named_buffers())
        self.avg_parameters = {
            name: tensor
            for name, tensor in self.avg_parameters.items()
            if name in names
        }
