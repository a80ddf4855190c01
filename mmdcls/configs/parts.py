"""Check the parts that every config has: their kinds, and numbers that cannot be."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import multiprocessing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmdcls.errors import ConfigError

from .arguments import registries
from .names import name_of, suggestion

SCOPES = ('mmpretrain', 'mmseg', 'mmdet')
"""The packages of classification, segmentation and detection, as configs name them."""

_CHECKPOINT_HOOKS = ('CheckpointHook', 'mmdcls.WholeCheckpointHook', CheckpointHook)
_LOADER_PARTS = ('dataset', 'num_batch_per_epoch')
_WORDS = {
    dict: 'a dictionary',
    list: 'a list',
    tuple: 'a list',
    str: 'a text',
    int: 'a number',
    bool: 'True or False',
}
_KINDS: dict[str, tuple[type, ...]] = {
    'model': (dict,),
    'data_preprocessor': (dict,),
    'train_dataloader': (dict,),
    'val_dataloader': (dict,),
    'test_dataloader': (dict,),
    'train_cfg': (dict,),
    'val_cfg': (dict,),
    'test_cfg': (dict,),
    'val_evaluator': (dict, list, tuple),
    'test_evaluator': (dict, list, tuple),
    'optim_wrapper': (dict,),
    'param_scheduler': (dict, list, tuple),
    'default_hooks': (dict,),
    'custom_hooks': (list, tuple),
    'auto_scale_lr': (dict,),
    'env_cfg': (dict,),
    'log_processor': (dict,),
    'visualizer': (dict,),
    'randomness': (dict,),
    'tta_model': (dict,),
    'tta_pipeline': (list, tuple),
    'robustness': (dict,),
    'strategy': (dict,),
    'work_dir': (str,),
    'load_from': (str,),
    'default_scope': (str,),
    'log_level': (str, int),
    'resume': (bool,),
}
"""The kinds of the parts that mmengine's Runner and the tools here read."""

_SMALLEST = {
    'batch_size': 1,
    'num_workers': 0,
    'max_epochs': 0,
    'max_iters': 0,
    'val_interval': 1,
    'val_begin': 0,
}
"""The smallest values of the whole numbers in dataloaders and in ``train_cfg``."""

NEEDS = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
"""The parts without which a training, a validation or a test cannot be."""


def known_parts() -> list[str]:
    """List the keys of the uppermost level that anything reads."""
    return [*_KINDS, 'launcher', 'cfg', 'experiment_name', 'runner_type',
            'custom_imports', 'find_unused_parameters', 'model_wrapper_cfg', 'compile',
            'sync_bn']  # fmt: skip


def check_parts(cfg: Config) -> None:
    """Refuse parts of another kind than what reads them expects, and absurd numbers.

    Raises:
        ConfigError: If there is one; the sentence names the file, the key, what is
            there and what is expected.
    """
    for key, kinds in _KINDS.items():
        value = cfg.get(key)
        if value is not None and not isinstance(value, kinds):
            raise _unexpected(cfg, key, value, ' or '.join(_words(kinds)))
    for split in ('train', 'val', 'test'):
        key = f'{split}_dataloader'
        if cfg.get(key):
            _check_dataloader(cfg, key, cfg[key])
        _check_numbers(cfg, f'{split}_cfg', cfg.get(f'{split}_cfg') or {})
    _check_environment(cfg)
    for key in ('val_evaluator', 'test_evaluator', 'custom_hooks', 'param_scheduler'):
        parts = cfg.get(key)
        for i, part in enumerate(parts if isinstance(parts, (list, tuple)) else []):
            # Hooks and metrics may also be there as objects.
            if isinstance(part, (str, int, float, list, tuple)) or part is None:
                raise _unexpected(cfg, f'{key}[{i}]', part, 'a dictionary')


def _check_environment(cfg: Config) -> None:
    """Check what mmengine learns to be wrong late, or without its key."""
    scope = cfg.get('default_scope')
    if scope and not _is_scope(scope):
        raise ConfigError(
            f"The {name_of(cfg)} cannot be used: default_scope='{scope}' is no package "
            f'that registers anything{suggestion(scope, SCOPES)}.'
        )
    level = cfg.get('log_level')
    if isinstance(level, str) and not isinstance(logging.getLevelName(level), int):
        raise _unexpected(cfg, 'log_level', level, 'INFO, WARNING or the like')
    processes = (cfg.get('env_cfg') or {}).get('mp_cfg') or {}
    methods = multiprocessing.get_all_start_methods()
    method = processes.get('mp_start_method', methods[0])
    if method not in methods:
        key = 'env_cfg.mp_cfg.mp_start_method'
        raise _unexpected(cfg, key, method, f'one of {", ".join(methods)}')
    hook = (cfg.get('default_hooks') or {}).get('checkpoint')
    if isinstance(hook, dict) and hook.get('type') in _CHECKPOINT_HOOKS:
        # It hands on what it does not know to what saves, after the first epoch.
        known = [
            name
            for function in (CheckpointHook.__init__, Runner.save_checkpoint)
            for name in inspect.signature(function).parameters
        ]
        for name in hook:
            if name not in (*known, 'type', '_scope_'):
                raise ConfigError(
                    f'The {name_of(cfg)} cannot be used: default_hooks.checkpoint has '
                    f"no argument '{name}'{suggestion(name, known)}."
                )


def _is_scope(name: str) -> bool:
    """Tell whether a package has the name, or something is registered under it."""
    if any(name in (r.scope, *r.children) for r in registries()):
        return True
    return name.isidentifier() and importlib.util.find_spec(name) is not None


def require_model(cfg: Config, config: object) -> None:
    """Refuse a config that has no model.

    Args:
        cfg: The config.
        config: What the user named it by.

    Raises:
        ConfigError: If it has none.
    """
    if not cfg.get('model'):
        raise ConfigError(f"The config '{config}' has no model.")


def require_parts(cfg: Config, *uses: str) -> None:
    """Refuse a config that lacks a part which a run cannot be without.

    Args:
        cfg: The config.
        *uses: Keys of :data:`NEEDS`.

    Raises:
        ConfigError: If one is missing; the sentence names it.
    """
    for use in uses:
        for key in NEEDS[use]:
            # Of `test_cfg` an empty one will do.
            if cfg.get(key) is None:
                raise ConfigError(
                    f'The {name_of(cfg)} has no {key}, and there is no {use} without.'
                )


@cache
def dataloader_keys() -> tuple[str, ...]:
    """List the keys of a dataloader's config."""
    arguments = inspect.signature(DataLoader.__init__).parameters
    return (*list(arguments)[1:], *_LOADER_PARTS)


def _check_dataloader(cfg: Config, key: str, loader: Mapping) -> None:
    known = (*dataloader_keys(), 'type', '_scope_')
    for name in loader:
        if name not in known:
            raise ConfigError(
                f'The {name_of(cfg)} cannot be used: {key} has no setting '
                f"'{name}'{suggestion(name, known)}."
            )
    _check_numbers(cfg, key, loader)
    if loader.get('num_workers') == 0:
        for name in ('persistent_workers', 'prefetch_factor'):
            if loader.get(name):
                raise ConfigError(
                    f'The {name_of(cfg)} cannot be used: '
                    f'{key}.{name}={loader[name]!r} goes with num_workers of 1 or more.'
                )
    for place, dataset in _datasets(f'{key}.dataset', loader.get('dataset')):
        if not isinstance(dataset, dict):
            if isinstance(dataset, (str, int, float, list, tuple)):
                raise _unexpected(cfg, place, dataset, 'a dictionary')
            continue
        pipeline = dataset.get('pipeline')
        if pipeline is not None and not isinstance(pipeline, (list, tuple)):
            raise _unexpected(cfg, f'{place}.pipeline', pipeline, 'a list')
        for i, step in enumerate(pipeline or []):
            if isinstance(step, (str, int, float)) or step is None:
                raise _unexpected(cfg, f'{place}.pipeline[{i}]', step, 'a dictionary')
        _check_paths(cfg, place, dataset)


def _datasets(key: str, dataset: Any) -> Iterator[tuple[str, Any]]:
    """Yield a data set and those that it wraps, with their keys."""
    if dataset is None:
        return
    yield key, dataset
    if isinstance(dataset, dict):
        if isinstance(dataset.get('dataset'), dict):
            yield from _datasets(f'{key}.dataset', dataset['dataset'])
        for i, part in enumerate(dataset.get('datasets') or []):
            yield from _datasets(f'{key}.datasets[{i}]', part)


def _check_paths(cfg: Config, key: str, dataset: Mapping) -> None:
    for name in ('data_root', 'ann_file'):
        value = dataset.get(name)
        if value is not None and not isinstance(value, (str, list, tuple)):
            raise _unexpected(cfg, f'{key}.{name}', value, 'a text')
    prefix = dataset.get('data_prefix')
    if prefix is not None and not isinstance(prefix, (str, dict)):
        raise _unexpected(cfg, f'{key}.data_prefix', prefix, 'a text or a dictionary')
    if isinstance(prefix, dict):
        for name, value in prefix.items():
            if value is not None and not isinstance(value, str):
                raise _unexpected(cfg, f'{key}.data_prefix.{name}', value, 'a text')


def _check_numbers(cfg: Config, key: str, part: Mapping) -> None:
    for name, smallest in _SMALLEST.items():
        if name == 'batch_size' and part.get('batch_sampler'):
            continue
        if name not in part:
            continue
        value = part[name]
        whole = isinstance(value, int) and not isinstance(value, bool)
        # mmengine takes a length of 4e4 iterations.
        whole |= isinstance(value, float) and value.is_integer() and 'max_' in name
        if not whole or value < smallest:
            expected = f'a whole number of at least {smallest}'
            raise _unexpected(cfg, f'{key}.{name}', value, expected)


def _words(kinds: tuple[type, ...]) -> list[str]:
    return list(dict.fromkeys(_WORDS[kind] for kind in kinds))


def _unexpected(cfg: Config, key: str, value: Any, expected: str) -> ConfigError:
    text = repr(value)
    shown = text if len(text) <= 60 else f'{text[:60]}…'
    return ConfigError(
        f'The {name_of(cfg)} cannot be used: {key}={shown}, where {expected} is '
        'expected.'
    )
