"""Find and read configs, and go through their data sets.

mmengine turns the name before ``::`` of a config into that of a distribution, and takes
the config from ``.mim`` in the folder that it believes the distribution's package to be
in. Importing this module lets it find those of mmdcls, and mmseg's under OneDL.
"""

from __future__ import annotations

import ast
import os
import traceback
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config

from mmdcls.environment import OPENMMLAB, check_openmmlab
from mmdcls.errors import ConfigError, MmdclsError

from .names import name_of, reason
from .parts import SCOPES, check_parts

SPLITS = ('train', 'val', 'test')
SUFFIXES = ('.py', '.json', '.yaml', '.yml')
"""The endings of the files that mmengine reads configs from."""

# Of mmengine's Config, with the file that each reads as `filename`.
_READERS = ('_file2dict', '_parse_lazy_import')


def find_mmdcls() -> None:
    """Let ``mmdcls::`` configs be found, however mmdcls came onto the path.

    mmengine takes the package of a distribution to lie beside its metadata, where that
    of an editable install does not. A module of mmdcls is no distribution: mmengine
    asks Python for it, and takes its folder.
    """
    MODULE2PACKAGE['mmdcls'] = 'mmdcls.version'


def find_mmseg_by_its_module() -> None:
    """Let ``mmseg::`` configs be found where no ``mmsegmentation`` is installed.

    mmengine looks for them in the distribution of that name, OneDL's (0.10.12) too,
    although OneDL names its distributions otherwise: there, mmsegmentation would be
    reported missing. The module's name serves mmengine as well as a distribution's.
    """
    try:
        distribution('mmsegmentation')
    except PackageNotFoundError:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def read_config(config: str) -> Config:
    """Read a config file, or one of a package, as ``'mmpretrain::folder/x.py'``.

    Raises:
        ConfigError: If it does not exist or cannot be read, or if a part of it is
            certainly wrong, see :func:`check_parts`.
        IncompatiblePackageError: If the package of its ``default_scope`` cannot be used
            in this environment.
    """
    try:
        cfg = _read(config)
    except ConfigError as error:
        if isinstance(error.__cause__, (ImportError, KeyError, TypeError)):
            # What its custom_imports raise is told better where it is known.
            check_openmmlab('mmpretrain')
        raise
    check_parts(cfg)
    if cfg.get('default_scope') in SCOPES:
        check_openmmlab(cfg.default_scope)
    return cfg


def _read(config: str) -> Config:
    if '::' in config:
        try:
            return get_config(config)
        except (AssertionError, FileNotFoundError) as error:
            raise ConfigError(
                f"The config '{config}' does not exist: {reason(error)}."
            ) from error
        except Exception as error:
            raise _unreadable(config, error) from error
    path = Path(config)
    if not path.exists():
        raise ConfigError(f"The config '{config}' does not exist.")
    if not path.is_file():
        raise ConfigError(f"The config '{config}' is no file.")
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"The config '{config}' must end in {', '.join(SUFFIXES[:-1])} or "
            f'{SUFFIXES[-1]}.'
        )
    _refuse_circles(path, ())
    try:
        return Config.fromfile(config)
    except Exception as error:  # A config is a program, and may raise anything.
        raise _unreadable(config, error) from error


def _refuse_circles(path: Path, below: tuple[Path, ...]) -> None:
    """Refuse a config that inherits from itself, which mmengine would do forever."""
    path = Path(os.path.abspath(path))
    if path in below:
        circle = ' -> '.join(f"'{config}'" for config in (*below, path))
        raise ConfigError(f'A config is its own _base_: {circle}.')
    try:
        body = ast.parse(path.read_text(encoding='utf-8')).body
    except (OSError, SyntaxError, ValueError):
        return  # Reading it says what is wrong with it.
    for statement in body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == '_base_'
            for target in statement.targets
        ):
            for part in ast.walk(statement.value):
                name = part.value if isinstance(part, ast.Constant) else None
                if isinstance(name, str) and '::' not in name:
                    _refuse_circles(path.parent / name, (*below, path))


def _unreadable(config: str, error: Exception) -> Exception:
    """Say in which of the files that a config consists of an error arose, and where."""
    if isinstance(error, MmdclsError) or (
        isinstance(error, ModuleNotFoundError) and error.name in OPENMMLAB
    ):
        return error
    files, line = _place(config, error)
    inherited = f" (a base of '{config}')" if len(files) > 1 else ''
    where = f"The config '{files[-1]}'{inherited}"
    if isinstance(error, SyntaxError):
        return ConfigError(
            f'{where} is no Python: line {error.lineno}: {error.msg or reason(error)}.'
        )
    if isinstance(error, UnicodeDecodeError):
        return ConfigError(f'{where} is no text in UTF-8: {error.reason}.')
    if isinstance(error, FileNotFoundError) and len(files) > 1:
        return ConfigError(
            f"The config '{files[-2]}' names a _base_ that does not exist: "
            f"'{os.path.normpath(files[-1])}'."
        )
    at = f'line {line}: ' if line else ''
    return ConfigError(f'{where} cannot be read: {at}{reason(error)}.')


def _place(config: str, error: BaseException) -> tuple[list[str], int | None]:
    """Follow the traceback: the file, the bases that led to the error, and the line."""
    files, line = [config], None
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name in _READERS:
            name = frame.f_locals.get('filename')
            if isinstance(name, str) and not _same_file(name, files[-1]):
                files.append(name)
        if _same_file(frame.f_code.co_filename, files[-1]):
            line = number
    return files, line


def _same_file(one: str, other: str) -> bool:
    return Path(one).absolute() == Path(other).absolute()


def scope_of(cfg: Config) -> str:
    """Tell which of :data:`SCOPES` a config belongs to.

    Raises:
        ConfigError: If its ``default_scope`` is none of them.
    """
    scope = cfg.get('default_scope')
    if scope not in SCOPES:
        raise ConfigError(
            f'The {name_of(cfg)} has default_scope={scope!r}; accepted are '
            f'{", ".join(SCOPES)}.'
        )
    return scope


def iter_datasets(cfg: Config, split: str) -> Iterator[tuple[str, ConfigDict]]:
    """Yield the data sets of a split with their keys, wrapped ones in their place.

    A data set that wraps others (``ConcatDataset``, ``RepeatDataset`` and the like) is
    not yielded itself: it has no files.
    """
    dataloader = cfg.get(f'{split}_dataloader')
    if not dataloader or not dataloader.get('dataset'):
        return
    pending = [(f'{split}_dataloader.dataset', dataloader.dataset)]
    while pending:
        key, dataset = pending.pop(0)
        inner = [
            (f'{key}.datasets[{i}]', part)
            for i, part in enumerate(dataset.get('datasets') or [])
        ]
        if isinstance(dataset.get('dataset'), dict):
            inner.append((f'{key}.dataset', dataset.dataset))
        if inner:
            pending = inner + pending
        else:
            yield key, dataset


def iter_metrics(cfg: Config, split: str) -> Iterator[tuple[str, ConfigDict]]:
    """Yield the metrics of a split with their keys, those of an ``Evaluator`` too."""
    key = f'{split}_evaluator'
    evaluator = cfg.get(key) or []
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        key, evaluator = f'{key}.metrics', evaluator['metrics']
    if isinstance(evaluator, dict):
        yield key, evaluator
        return
    for i, metric in enumerate(evaluator):
        if isinstance(metric, dict):
            yield f'{key}[{i}]', metric


find_mmdcls()
find_mmseg_by_its_module()
