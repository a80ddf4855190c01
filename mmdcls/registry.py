"""Registries of mmdcls: children of mmengine's, with the scope ``mmdcls``.

A config names our components as ``mmdcls.X`` whatever its ``default_scope``; with
``locations`` a registry imports what it needs when it is first asked. Nothing is
imported here that needs more than mmengine: mmengine logs an ImportError of this file
and goes on without it.

Whoever uses a component of mmdcls imports this file, so that here mmengine also learns
to read checkpoints as data; without, it could not resume a training of ours.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

from . import (
    checkpoints,  # noqa: F401, see above
    configs,  # noqa: F401, lets mmengine find configs by `mmdcls::`
    layers,
)
from .environment import check_openmmlab

# mmengine would log an ImportError of this file and go on; this is none.
check_openmmlab('mmengine')

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmdcls',
    locations=['mmdcls.models'],
)
# The layers know nothing of mmengine, and need none of what the models do.
for _layer in layers.LAYERS:
    MODELS.register_module(module=_layer)
HOOKS = Registry(
    'hook', parent=MMENGINE_HOOKS, scope='mmdcls', locations=['mmdcls.engine']
)
RUNNERS = Registry(
    'runner', parent=MMENGINE_RUNNERS, scope='mmdcls', locations=['mmdcls.engine']
)
STRATEGIES = Registry(
    'strategy', parent=MMENGINE_STRATEGIES, scope='mmdcls', locations=['mmdcls.engine']
)
FUNCTIONS = Registry(
    'function', parent=MMENGINE_FUNCTIONS, scope='mmdcls', locations=['mmdcls.engine']
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmdcls',
    locations=['mmdcls.engine'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmdcls',
    locations=['mmdcls.engine'],
)
# Empty: schedulers of a config that is inherited by ``mmdcls::`` are looked for here.
PARAM_SCHEDULERS = Registry(
    'parameter scheduler',
    parent=MMENGINE_PARAM_SCHEDULERS,
    scope='mmdcls',
    locations=['mmdcls.engine'],
)
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='mmdcls', locations=['mmdcls.datasets']
)
TRANSFORMS = Registry(
    'transform',
    parent=MMENGINE_TRANSFORMS,
    scope='mmdcls',
    locations=['mmdcls.datasets'],
)
METRICS = Registry(
    'metric',
    parent=MMENGINE_METRICS,
    scope='mmdcls',
    locations=['mmdcls.evaluation'],
)


def find_class(registry: Registry, kind: str | type) -> type | None:
    """Return the class that ``type=kind`` of a config names in the current scope.

    Args:
        registry: One of mmengine's root registries, such as ``DATASETS``.
        kind: A registered name, or the class itself.

    Returns:
        The class, or None if there is no such name.
    """
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(kind)
