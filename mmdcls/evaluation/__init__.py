from .corruption_error import (
    mean_corruption_error,
    mean_error,
    relative_mean_corruption_error,
)
from .metrics import CorruptionError, MaskedAccuracy

__all__ = [
    'CorruptionError',
    'MaskedAccuracy',
    'mean_corruption_error',
    'mean_error',
    'relative_mean_corruption_error',
]
