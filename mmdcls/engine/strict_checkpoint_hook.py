"""Stop when a checkpoint and a model do not belong together."""

from __future__ import annotations

import logging
import re

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, FlexibleRunner, Runner
from torch import Tensor, nn

from mmdcls.checkpoints import (
    PretrainedGuard,
    check_pretrained,
    check_state_dict,
    check_weights,
    compare_state_dicts,
    tensors_of,
)
from mmdcls.checkpoints.unpickler import mark
from mmdcls.registry import HOOKS

from .sharding import unwrap, whole_state_dict

# Also ``img_backbone.`` and ``detector.backbone.``.
_BACKBONE = re.compile(r'(^|\.)\w*backbone\.')


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Compare the weights that a run loads with the model, before they are loaded.

    mmengine skips what does not match and warns, so that a wrong checkpoint shows only
    in its scores. ``tools/train.py`` and ``tools/test.py`` add this hook to every run.
    It also looks at the files that ``init_cfg=dict(type='Pretrained', …)`` of any
    module names.

    Args:
        partial: Whether to accept a checkpoint that is not the model's own, to start a
            training from (``load_from``): the backbone must be in it, with every layer
            and shape; tensors outside of it that are missing or of another shape, as
            those of a head for other classes, are listed in one line. Otherwise every
            tensor of the model must be there with its shape, and no other.
        allow_mismatch: Whether to load what fits, and list the rest.

    Raises:
        CheckpointError: When the weights are about to be loaded, if they do not belong
            to the model.
    """

    # Before mmengine's EMAHook, which has the same tensors loaded.
    priority = 'VERY_HIGH'

    def __init__(self, partial: bool = False, allow_mismatch: bool = False) -> None:
        self.partial = partial
        self.allow_mismatch = allow_mismatch

    def before_run(self, runner: Runner) -> None:
        """Check what the modules' own ``init_cfg`` will load."""
        # Evaluation initialises no weights. A FlexibleRunner has done so by now, and
        # maybe cut the model; who builds one calls `check_init_cfg` before.
        is_flexible = isinstance(runner, FlexibleRunner)
        if isinstance(runner._train_loop, BaseLoop) and not is_flexible:
            self.check_init_cfg(runner.model)

    def check_init_cfg(self, model: nn.Module) -> None:
        """Check what the ``init_cfg`` of any module of ``model`` will load."""
        for module in unwrap(model).modules():
            if isinstance(module, PretrainedGuard):
                module.allow_mismatch |= self.allow_mismatch
            else:
                # Upstream's may add layers to what they start from, as deformable
                # convolutions, or resize weights as they load them, as transformers.
                resizes = any(m._load_state_dict_pre_hooks for m in module.modules())
                check_pretrained(
                    module, self.allow_mismatch or resizes, all_layers=False
                )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note that this installation writes ``checkpoint``."""
        mark(checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare ``checkpoint`` with ``runner.model``."""
        expected = whole_state_dict(runner.model)
        source = runner._load_from or 'the latest checkpoint'
        found = tensors_of(checkpoint, expected, source)
        # mmengine loads what it finds here.
        checkpoint['state_dict'] = found
        if self.partial:
            _check_start(expected, found, source, self.allow_mismatch)
            _leave_out_unfit_averages(expected, checkpoint)
        elif self.allow_mismatch:
            check_weights(expected, found, source, 'model', allow_mismatch=True)
        else:
            check_state_dict(expected, found, source, "the config's model")


def _check_start(
    expected: dict[str, Tensor],
    found: dict[str, Tensor],
    source: object,
    allow_mismatch: bool,
) -> None:
    """Check weights to start from: the backbone's strictly, the others' by a line."""

    def split(tensors: dict[str, Tensor]) -> tuple[dict, dict]:
        inside = {n: tensor for n, tensor in tensors.items() if _BACKBONE.search(n)}
        outside = {n: tensor for n, tensor in tensors.items() if n not in inside}
        return inside, outside

    (backbone, heads), (found_backbone, found_heads) = split(expected), split(found)
    if not backbone:
        check_weights(expected, found, source, 'model', allow_mismatch=True)
        return
    check_weights(backbone, found_backbone, source, 'backbone', allow_mismatch)
    if differences := compare_state_dicts(heads, found_heads):
        print_log(
            f'Outside of the backbone, {source} does not fit the model entirely, and '
            f'what does not fit starts anew: {differences}.',
            logger='current',
            level=logging.WARNING,
        )


def _leave_out_unfit_averages(expected: dict[str, Tensor], checkpoint: dict) -> None:
    """Drop the second set of weights of a training with EMA if it does not fit.

    mmpretrain's EMAHook loads it strictly, and fails for a head of other classes.
    """
    if 'ema_state_dict' not in checkpoint:
        return
    kept = tensors_of({'state_dict': checkpoint['ema_state_dict']}, expected)
    if compare_state_dicts(expected, kept).resized:
        del checkpoint['ema_state_dict']
        print_log(
            'The ema_state_dict of the checkpoint does not fit the model; the model '
            'and its average both start from its state_dict.',
            logger='current',
            level=logging.WARNING,
        )
