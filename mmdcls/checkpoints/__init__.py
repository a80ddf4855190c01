"""Read the checkpoints of strangers, and compare them with models."""

from . import sources  # noqa: F401, has mmengine read checkpoints as data
from .comparison import Differences, check_state_dict, compare_state_dicts
from .loading import PretrainedGuard, check_pretrained, check_weights, with_prefix
from .reading import CheckpointError, read_checkpoint, tensors_of

__all__ = [
    'CheckpointError',
    'Differences',
    'PretrainedGuard',
    'check_pretrained',
    'check_state_dict',
    'check_weights',
    'compare_state_dicts',
    'read_checkpoint',
    'tensors_of',
    'with_prefix',
]
