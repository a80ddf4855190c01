"""Find the files of a config's data sets, and move them to ``--data-root``."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict

from mmdcls.configs import SPLITS, iter_datasets, iter_metrics
from mmdcls.errors import ConfigError


def set_data_root(cfg: Config, data_root: str, splits: Sequence[str] = SPLITS) -> None:
    """Put ``data_root`` in place of the one folder that the config's data are in.

    It moves every data set that has this folder as ``data_root``, its absolute paths
    below that folder, and the paths of metrics that begin with it, in all splits:
    metrics name annotation files by whole paths (``CocoMetric.ann_file``).

    Args:
        cfg: The config, changed in place.
        data_root: The folder that takes its place.
        splits: The splits that are going to be used, and so must move: any of
            ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        ConfigError: If the folder does not exist, or if it is not clear what it
            replaces: no data set, one without ``data_root``, one with nothing but
            absolute paths elsewhere, or data sets in several folders.
    """
    check_data_root(data_root)
    old = _find_common_root(cfg, splits)
    new = data_root.rstrip('/') + '/'
    for split in SPLITS:
        for _, dataset in iter_datasets(cfg, split):
            if _normalize(dataset.get('data_root')) == old:
                dataset.data_root = new
                _move_paths(dataset, old, new)
        for _, metric in iter_metrics(cfg, split):
            for name, value in metric.items():
                metric[name] = _moved(value, old, new)


def check_data_root(data_root: str) -> None:
    """Fail before any work if ``--data-root`` names no folder of this machine.

    Raises:
        ConfigError: If the folder does not exist.
    """
    if not _is_remote(data_root) and not os.path.isdir(data_root):
        raise ConfigError(f"`data_root`: the folder '{data_root}' does not exist.")


def _find_common_root(cfg: Config, splits: Sequence[str]) -> str:
    """Return the one ``data_root`` of all data sets of ``splits``, normalized."""
    first = None
    for split in splits:
        for key, dataset in iter_datasets(cfg, split):
            root = _normalize(dataset.get('data_root'))
            _check_movable(key, dataset, root)
            first = first or (key, dataset.data_root)
            if root != _normalize(first[1]):
                raise ConfigError(
                    '`data_root` names one folder, but the config has two: '
                    f"{first[0]}.data_root='{first[1]}' and "
                    f"{key}.data_root='{dataset.data_root}'; set each with "
                    '`cfg_options`.'
                )
    if first is None:
        loaders = ', '.join(f'{split}_dataloader' for split in splits)
        raise ConfigError(
            f'`data_root`: the config has no data set to move (in {loaders}).'
        )
    return _normalize(first[1])


def _check_movable(key: str, dataset: ConfigDict, root: str) -> None:
    paths = {name: path for name, path in _own_paths(dataset).items() if path}
    elsewhere = [
        path
        for path in paths.values()
        if os.path.isabs(path) and _moved(path, root, '') == path
    ]
    shown = ', '.join(f'{key}.{name}={path!r}' for name, path in paths.items())
    if not root:
        raise ConfigError(
            f'`data_root`: {key} has no data_root to replace ({shown or "nor paths"}); '
            'set its paths with `cfg_options`.'
        )
    if paths and len(elsewhere) == len(paths):
        raise ConfigError(
            f'`data_root`: {key} would ignore it, for its paths are absolute and not '
            f"below its data_root='{dataset.data_root}' ({shown}); set them with "
            '`cfg_options`.'
        )


def _normalize(root: str | None) -> str:
    return os.path.normpath(root) if root else ''


def _own_paths(dataset: ConfigDict) -> dict[str, str]:
    """Return the paths that a data set adds to ``data_root``, by their keys."""
    prefix = dataset.get('data_prefix') or {}
    prefix = {'': prefix} if isinstance(prefix, str) else prefix
    paths = {
        f'data_prefix.{name}'.rstrip('.'): path or '' for name, path in prefix.items()
    }
    if dataset.get('ann_file'):
        paths['ann_file'] = dataset.ann_file
    return paths


def _move_paths(dataset: ConfigDict, old: str, new: str) -> None:
    """Move the absolute paths of a data set; the others are relative to its root."""
    for name, path in _own_paths(dataset).items():
        if os.path.isabs(path):
            parts = name.split('.')
            owner = dataset.data_prefix if len(parts) == 2 else dataset
            owner[parts[-1]] = _moved(path, old, new)


def _moved(value: object, old: str, new: str) -> object:
    """Return a path below ``old`` as one below ``new``, anything else unchanged."""
    if not isinstance(value, str):
        return value
    path = os.path.normpath(value)
    if path == old or path.startswith(old.rstrip('/') + '/'):
        return new + path[len(old) :].lstrip('/')
    return value


def check_data_paths(cfg: Config, splits: Sequence[str]) -> None:
    """Fail before any work if a folder or an annotation file is missing.

    Raises:
        ConfigError: If one is missing; the sentence names its key and its path.
    """
    for split in splits:
        for key, dataset in iter_datasets(cfg, split):
            root = dataset.get('data_root') or ''
            if root:
                _check_path(f'{key}.data_root', root)
            for name, path in _own_paths(dataset).items():
                _check_path(f'{key}.{name}', os.path.join(root, path))
        for key, metric in iter_metrics(cfg, split):
            if isinstance(metric.get('ann_file'), str):
                _check_path(f'{key}.ann_file', metric.ann_file)


def _check_path(key: str, path: str) -> None:
    if path and not _is_remote(path) and not os.path.exists(path):
        raise ConfigError(
            f"{key}: '{path}' does not exist; `data_root` names another folder than "
            "the config's."
        )
    if path and os.path.exists(path):
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ConfigError(f"{key}: '{path}' is neither a file nor a folder.")


def _is_remote(path: str) -> bool:
    """Tell whether a storage backend of mmengine reads the path (``s3://bucket/x``)."""
    return ':/' in path
