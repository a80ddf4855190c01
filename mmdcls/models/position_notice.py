"""Tell who trains a backbone how its positions want to be trained."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from mmengine.logging import print_log

from mmdcls.compat import is_compiling
from mmdcls.layers import iter_dcls_layers

_CONSTRUCTOR = "optim_wrapper=dict(constructor='mmdcls.DCLSOptimWrapperConstructor', …)"

if TYPE_CHECKING:
    from mmengine.model import BaseModule as _Module
else:
    _Module = object  # The upstream class, which comes after the mixin, is the module.


class PositionNotice(_Module):
    """Mixin of backbones: whatever builds the optimizer, the user learns of positions.

    mmengine's default constructor refuses positions that several layers share, and
    mmseg's and mmdet's decaying ones give them weight decay and the weights' learning
    rate without a word. So a line is logged when the backbone is built, and a warning
    in the first training step if positions have no options of their own.
    """

    _is_told = False

    def _announce_positions(self) -> None:
        """Log which constructor trains positions as the paper does."""
        if any(True for _ in iter_dcls_layers(self)):
            print_log(
                f'{type(self).__name__} has learnable positions; {_CONSTRUCTOR} trains '
                'them as the paper does. Other constructors refuse shared positions or '
                'treat them as weights.',
                logger='current',
            )

    def _warn_of_untreated_positions(self) -> None:
        """Warn once, in training, if positions are optimized like weights."""
        if self._is_told or not self.training or is_compiling():
            return
        if not torch.is_grad_enabled():
            return
        self._is_told = True
        layers = [
            layer for layer in iter_dcls_layers(self) if layer.positions.requires_grad
        ]
        if layers and not any(layer.positions_have_options for layer in layers):
            print_log(
                f'The positions of {type(self).__name__} are trained like weights, '
                'with weight decay, which pulls them to the centre, and without a '
                f'learning rate of their own. Set {_CONSTRUCTOR}.',
                logger='current',
                level=logging.WARNING,
            )
