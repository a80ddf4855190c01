"""Go on with a training as if it had never been interrupted."""

from .exact_resume_hook import ExactResumeHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = ['ExactResumeHook', 'WholeCheckpointHook']
