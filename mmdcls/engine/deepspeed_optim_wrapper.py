"""mmengine's wrapper of DeepSpeed's optimizers, on recent versions of PyTorch."""

from __future__ import annotations

import torch
from mmengine._strategy.deepspeed import DeepSpeedOptimWrapper as _DeepSpeedOptimWrapper

from mmdcls.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class DeepSpeedOptimWrapper(_DeepSpeedOptimWrapper):
    """Make DeepSpeed's steps without recording gradients.

    DeepSpeed before 0.19 gathers parameters into views of one tensor, which autograd of
    PyTorch 2.13 refuses while it records. All arguments are the parent's.
    """

    @torch.no_grad()
    def step(self, **kwargs) -> None:
        """Make a step of the optimizer, if gradients are complete."""
        super().step(**kwargs)
