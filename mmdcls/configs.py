"""Find and read configs, and go through their data sets.

mmengine turns the name before ``::`` of a config into that of a distribution, and takes
the config from ``.mim`` in the folder that it believes the distribution's package to be
in. Importing this module lets it find those of mmdcls, and mmseg's under OneDL.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config

from .environment import check_openmmlab
from .errors import ConfigError

SPLITS = ('train', 'val', 'test')
SCOPES = ('mmpretrain', 'mmseg', 'mmdet')
"""The packages of classification, segmentation and detection, as configs name them."""


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
        ConfigError: If it does not exist.
        IncompatiblePackageError: If the package of its ``default_scope`` cannot be used
            in this environment.
    """
    try:
        cfg = _read(config)
    except (ImportError, KeyError, TypeError):
        # What its custom_imports raise is told better where it is known.
        check_openmmlab('mmpretrain')
        raise
    if cfg.get('default_scope') in SCOPES:
        check_openmmlab(cfg.default_scope)
    return cfg


def _read(config: str) -> Config:
    if '::' in config:
        try:
            return get_config(config)
        except (AssertionError, FileNotFoundError) as error:
            raise ConfigError(
                f"The config '{config}' does not exist: {error}."
            ) from error
    if not Path(config).is_file():
        raise ConfigError(f"The config '{config}' does not exist.")
    return Config.fromfile(config)


def scope_of(cfg: Config) -> str:
    """Tell which of :data:`SCOPES` a config belongs to.

    Raises:
        ConfigError: If its ``default_scope`` is none of them.
    """
    scope = cfg.get('default_scope')
    if scope not in SCOPES:
        name = f"config '{cfg.filename}'" if cfg.filename else 'config'
        raise ConfigError(
            f'The {name} has default_scope={scope!r}; accepted are {", ".join(SCOPES)}.'
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
