"""Stop when a checkpoint and a model do not belong together."""

from __future__ import annotations

import re

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner

from mmdcls.checkpoints.comparison import check_state_dict
from mmdcls.registry import HOOKS


@HOOKS.register_module()
class StrictCheckpointHook(Hook):
    """Compare a checkpoint's parameters with the model's before they are loaded.

    mmengine skips what does not match and warns, so that a wrong checkpoint shows only
    in its scores. ``tools/train.py`` and ``tools/test.py`` add this hook to every run.

    Args:
        partial: Accept a checkpoint that holds only some of the model's tensors, as a
            training that starts from other weights does (``load_from``); how many it
            found is logged. Otherwise every tensor must be there with its shape, and no
            other.
    """

    priority = 'VERY_LOW'

    def __init__(self, partial: bool = False) -> None:
        self.partial = partial

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare ``checkpoint`` with ``runner.model``.

        Raises:
            CheckpointError: If they do not belong together.
        """
        expected = _unwrap(runner.model).state_dict()
        found = {
            re.sub(r'^module\.', '', name): value
            for name, value in checkpoint.get('state_dict', checkpoint).items()
        }
        source = runner._load_from or 'the latest checkpoint'
        matching = [
            name
            for name, value in expected.items()
            if name in found and found[name].shape == value.shape
        ]
        if self.partial and matching:
            runner.logger.info(
                f'{len(matching)} of the {len(expected)} tensors of the model are '
                f'loaded from {source}.'
            )
            return
        check_state_dict(expected, found, source, "the config's model")


def _unwrap(model):
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
