from mmdcls.checkpoints.reading import CheckpointError, read_checkpoint

from .clamp_positions_hook import ClampPositionsHook
from .cpu_amp_optim_wrapper import CPUAmpOptimWrapper
from .cpu_runner import CPURunner
from .deepspeed_optim_wrapper import DeepSpeedOptimWrapper
from .finite_loss_hook import DivergedError, FiniteLossHook
from .fsdp_strategy import FSDPStrategy
from .named_files_hook import NamedFilesHook
from .optim_wrapper_constructor import DCLSOptimWrapperConstructor
from .position_statistics_hook import PositionStatisticsHook
from .repulsive_loss_hook import RepulsiveLossHook
from .resuming import ExactResumeHook, WholeCheckpointHook
from .save_on_termination_hook import SaveOnTerminationHook
from .strict_checkpoint_hook import StrictCheckpointHook
from .whole_images_hook import WholeImagesHook
from .wrap_stages import wrap_stages

__all__ = [
    'CPUAmpOptimWrapper',
    'CPURunner',
    'CheckpointError',
    'ClampPositionsHook',
    'DCLSOptimWrapperConstructor',
    'DeepSpeedOptimWrapper',
    'ExactResumeHook',
    'FSDPStrategy',
    'DivergedError',
    'FiniteLossHook',
    'NamedFilesHook',
    'PositionStatisticsHook',
    'RepulsiveLossHook',
    'SaveOnTerminationHook',
    'StrictCheckpointHook',
    'WholeCheckpointHook',
    'WholeImagesHook',
    'read_checkpoint',
    'wrap_stages',
]
