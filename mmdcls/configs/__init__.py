"""Find, read, change and check configs, and say what is wrong with one."""

from .building import building_from
from .options import change_config
from .parts import SCOPES, check_parts, require_model, require_parts
from .reading import (
    SPLITS,
    iter_datasets,
    iter_metrics,
    read_config,
    scope_of,
)

__all__ = [
    'SCOPES',
    'SPLITS',
    'building_from',
    'change_config',
    'check_parts',
    'iter_datasets',
    'iter_metrics',
    'read_config',
    'require_model',
    'require_parts',
    'scope_of',
]
