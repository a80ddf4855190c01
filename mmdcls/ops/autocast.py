"""What the operators ask of autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch


def has_autocast(device_type: str) -> bool:
    """Whether a device type has autocast; the meta device has none."""
    if torch.compiler.is_compiling():
        # PyTorch 2.8 cannot trace the question below.
        return device_type != 'meta'
    return torch.amp.is_autocast_available(device_type)


def without_autocast(device_type: str) -> AbstractContextManager:
    """A context in which autocast is off."""
    if has_autocast(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()
