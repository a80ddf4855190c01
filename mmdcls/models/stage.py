"""The blocks of a stage, run by one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.utils.checkpoint as cp
from mmengine.model import Sequential
from torch import Tensor, nn

from mmdcls.layers import can_build_together, construct_kernels

from .convnext_block import can_run_fused, run_fused, run_in_nchw, takes_nchw


class Stage(Sequential):
    """Blocks one after the other.

    Whoever shards a model, as FSDP does, gathers the parameters of a stage when it is
    called, so that blocks are never run from outside of it.
    """

    def forward(self, x: Tensor, with_cp: bool = False) -> Tensor:
        """Run the blocks.

        Args:
            x: Activations, ``(N, C, H, W)``.
            with_cp: Checkpoint each block. Without re-entrance, so that shared
                positions get one gradient under DDP.
        """
        for block in self:
            x = self._run(block, x, with_cp=with_cp)
        return x

    def _run(self, *call: Any, with_cp: bool) -> Tensor:
        if with_cp and torch.is_grad_enabled():
            return cp.checkpoint(*call, use_reentrant=False)
        return call[0](*call[1:])


class ConvNeXtStage(Stage):
    """The blocks of a ConvNeXt stage, in as few passes as can be.

    Kernels of layers that share their positions are built at once, and blocks run
    fused (:func:`run_fused`) unless hooks are on what that leaves out.
    """

    def forward(self, x: Tensor, with_cp: bool = False) -> Tensor:
        """Run the blocks; see the parent."""
        fused = [can_run_fused(block) for block in self]
        kernels = _build_kernels(self) if all(fused) else [None] * len(self)
        run: Callable[..., Tensor] = run_fused
        if all(fused) and takes_nchw(self, x):
            run, x = run_in_nchw, x.contiguous()
        for block, is_fused, kernel in zip(self, fused, kernels, strict=True):
            call = (run, block, x, kernel) if is_fused else (block, x)
            x = self._run(*call, with_cp=with_cp)
        return x


def _build_kernels(stage: nn.Sequential) -> Sequence[Tensor | None]:
    """Build the depthwise kernels of all blocks where it can be done at once.

    Blocks with None build their own.
    """
    layers: list[Any] = [block.depthwise_conv for block in stage]
    if can_build_together(layers):
        return construct_kernels(layers)
    return [None] * len(layers)
