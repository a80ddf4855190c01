"""Read the checkpoints of strangers, and compare them with models."""

from .comparison import Differences, check_state_dict, compare_state_dicts
from .reading import CheckpointError, read_checkpoint, state_dict_of

__all__ = [
    'CheckpointError',
    'Differences',
    'check_state_dict',
    'compare_state_dicts',
    'read_checkpoint',
    'state_dict_of',
]
