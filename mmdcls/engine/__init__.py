from .checkpoint import CheckpointError, read_checkpoint
from .clamp_positions_hook import ClampPositionsHook
from .optim_wrapper_constructor import DCLSOptimWrapperConstructor
from .strict_checkpoint_hook import StrictCheckpointHook

__all__ = [
    'CheckpointError',
    'ClampPositionsHook',
    'DCLSOptimWrapperConstructor',
    'StrictCheckpointHook',
    'read_checkpoint',
]
