from mmdcls.checkpoints.reading import CheckpointError, read_checkpoint

from .clamp_positions_hook import ClampPositionsHook
from .cpu_runner import CPURunner
from .optim_wrapper_constructor import DCLSOptimWrapperConstructor
from .position_statistics_hook import PositionStatisticsHook
from .repulsive_loss_hook import RepulsiveLossHook
from .strict_checkpoint_hook import StrictCheckpointHook
from .whole_images_hook import WholeImagesHook

__all__ = [
    'CPURunner',
    'CheckpointError',
    'ClampPositionsHook',
    'DCLSOptimWrapperConstructor',
    'PositionStatisticsHook',
    'RepulsiveLossHook',
    'StrictCheckpointHook',
    'WholeImagesHook',
    'read_checkpoint',
]
