"""The two memory formats of (N, C, H, W) maps."""

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Tell whether ``x`` is in channels_last alone: what is in both counts as NCHW."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def format_of(x: Tensor) -> torch.memory_format:
    """Return the memory format of ``x``; NCHW if it has neither."""
    return torch.channels_last if is_channels_last(x) else torch.contiguous_format
