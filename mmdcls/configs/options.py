"""Change settings of a config by their dotted keys, as ``--cfg-options`` does."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmdcls.errors import ConfigError

from .arguments import accepted_arguments, find_type
from .names import name_of, reason, shown_type, suggestion
from .parts import check_parts, dataloader_keys, known_parts

_FILLED_IN = {
    'default_hooks': (
        *('runtime_info', 'timer', 'sampler_seed', 'logger'),
        *('param_scheduler', 'checkpoint'),
    ),
    'env_cfg': ('dist_cfg', 'mp_cfg', 'resource_limit'),
}
_FLAG = '`cfg_options`'


def change_config(cfg: Config, options: Mapping[str, Any] | None) -> None:
    """Change settings of a config, and refuse keys that nothing would read.

    Unknown are a key of the uppermost level that neither the config has nor mmengine
    reads, an argument that the class of ``type`` does not take, and a part that would
    be made of a dictionary without ``type``. Any other new key is told as a warning.

    Args:
        cfg: The config, changed in place.
        options: The settings, by their dotted keys, such as ``'model.backbone.depth'``.

    Raises:
        ConfigError: If a key is unknown or leads through something that has no keys, or
            if :func:`check_parts` raises it of what comes out.
    """
    if not options:
        return
    for key, value in options.items():
        _check_key(cfg, key, value, options)
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        keys = ', '.join(options)
        raise ConfigError(
            f'{_FLAG}: {keys} cannot be changed in the {name_of(cfg)}: {reason(error)}.'
        ) from error
    check_parts(cfg)


def _check_key(cfg: Config, key: str, value: Any, options: Iterable[str]) -> None:
    """Follow a dotted key through the config as far as it goes."""
    owner: Any = cfg._cfg_dict
    names = key.split('.')
    for depth, name in enumerate(names):
        place = '.'.join(names[:depth])
        if not name:
            raise ConfigError(f"{_FLAG}: '{key}' has an empty part.")
        if isinstance(owner, (list, tuple)):
            if not name.isdigit() or int(name) >= len(owner):
                last = len(owner) - 1
                raise ConfigError(
                    f"{_FLAG}: '{key}': {place} is a list, of which '{name}' is none "
                    f'of the places 0 to {last}.'
                    if owner
                    else f"{_FLAG}: '{key}': {place} is an empty list."
                )
            owner = owner[int(name)]
            continue
        if owner is None:
            return  # A part that is switched off; the option gives it a value.
        if not isinstance(owner, dict):
            raise ConfigError(
                f"{_FLAG}: '{key}': {place} is {owner!r} in the {name_of(cfg)}, and "
                f"has no '{name}'."
            )
        if name not in owner:
            is_part = depth < len(names) - 1
            typed = '.'.join([*names[: depth + 1], 'type']) in options
            _check_new(cfg, key, place, owner, name, is_part and not typed)
            return
        owner = owner[name]


def _check_new(
    cfg: Config, key: str, place: str, owner: dict, name: str, bare_part: bool
) -> None:
    """Refuse a key that the config does not have, unless something may read it."""
    known: Iterable[str] | None
    if not place:
        known, whole = [*owner, *known_parts()], f'the {name_of(cfg)}'
    elif place.endswith('_dataloader') and '.' not in place:
        known, whole = dataloader_keys(), f'{place} of the {name_of(cfg)}'
    elif 'type' in owner:
        kind = find_type(cfg, owner['type'])
        known = kind and accepted_arguments(kind)
        whole = f"{place} (type='{shown_type(owner['type'])}') of the {name_of(cfg)}"
    else:
        known, whole = (list(owner) if bare_part else None), f'{place} of the config'
        if known is not None:  # What mmengine fills in where a config is silent.
            known = [*known, *_FILLED_IN.get(place, ())]
    if known is not None and name not in known:
        raise ConfigError(
            f"{_FLAG}: '{key}': {whole} has no '{name}'{suggestion(name, known)}."
        )
    if known is None:
        print_log(
            f"'{key}' of --cfg-options is new in the {name_of(cfg)}"
            f'{suggestion(name, owner)}.',
            logger='current',
            level=logging.WARNING,
        )
