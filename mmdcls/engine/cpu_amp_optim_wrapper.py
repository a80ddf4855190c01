"""Mixed precision on a CPU, which mmengine's AmpOptimWrapper refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmdcls.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Run the forward pass on a CPU in bfloat16 where PyTorch's autocast does so.

    Parameters stay in float32. Gradients need no scaling: bfloat16 has the range of
    float32. All arguments are the parent's.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the model within autocast."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
