"""Say in one sentence which part of a config could not be built, and why.

mmengine builds what ``type`` names by calling it with the other settings. What goes
wrong there is of many kinds and names neither the file nor the key; both are found from
the traceback.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, RUNNERS, Registry
from mmengine.registry.build_functions import build_from_cfg, build_runner_from_cfg
from mmengine.runner import Runner

from mmdcls.errors import ConfigError, MmdclsError

from .arguments import accepted_arguments, parameters_of
from .names import name_of, reason, shown_type, suggestion

_BUILDERS = {
    build_from_cfg.__code__: '',
    build_runner_from_cfg.__code__: '',
    Runner.__init__.__code__: '',
    Runner.build_dataloader.__code__: 'dataloader',
    Runner.build_train_loop.__code__: 'train_cfg',
    Runner.build_val_loop.__code__: 'val_cfg',
    Runner.build_test_loop.__code__: 'test_cfg',
    Runner.build_optim_wrapper.__code__: 'optim_wrapper',
    Runner.build_param_scheduler.__code__: 'param_scheduler',
}
"""What builds, with the part of the config that it builds where its arguments do not
tell."""
_SIMPLE = {'int': int, 'float': (int, float), 'bool': bool, 'str': str}
_OF_SETTINGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What constructors raise of settings that cannot work."""

_NO_MEMORY = re.compile(r'tried to allocate (\d+) bytes|[Ss]torage size calculation')


@contextmanager
def building_from(cfg: Config) -> Iterator[None]:
    """Turn what goes wrong while parts of a config are built into a sentence.

    Errors that arise elsewhere, and those that arise in mmdcls itself, stay as they
    are: they are bugs.

    Args:
        cfg: The config.

    Raises:
        ConfigError: If a part cannot be built; the sentence names the file, the key,
            and what is wrong.
    """
    try:
        yield
    except _OF_SETTINGS as error:
        sentence = None if _has_sentence(error) else _describe(error, cfg)
        if sentence is None:
            raise
        raise ConfigError(f'The {name_of(cfg)} cannot be used: {sentence}.') from error


def _describe_step(
    error: Exception, cfg: Config, frame: FrameType, inside: list[FrameType]
) -> str | None:
    """Describe what a step of mmengine's Runner raised outside of any registry."""
    place = _BUILDERS[frame.f_code]
    kind = cfg.get('runner_type')
    if frame.f_code is build_runner_from_cfg.__code__ and not inside:
        return _unknown_type('runner_type', kind, RUNNERS, suffix='')
    if not place:  # Of what its constructor calls, not all is about the config.
        return None if inside else reason(error)
    if inside and _is_ours(inside[-1]):
        return None
    if place == 'dataloader':
        place = find_key(cfg, frame.f_locals.get('dataloader')) or 'a dataloader'
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer')
    if place == 'optim_wrapper' and isinstance(optimizer, dict):
        # mmengine looks for its arguments without a look whether it is there.
        kind = optimizer.get('type')
        with OPTIMIZERS.switch_scope_and_registry(None) as scoped:
            if isinstance(kind, str) and scoped.get(kind) is None:
                return _unknown_type('optim_wrapper.optimizer', kind, scoped)
    if found := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
        known = list(cfg.get(place) or {})
        return f"{place} has no setting '{found[1]}'{suggestion(found[1], known)}"
    return f'{place}: {reason(error)}'


def _has_sentence(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MmdclsError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _describe(error: Exception, cfg: Config) -> str | None:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = [i for i, frame in enumerate(frames) if frame.f_code in _BUILDERS]
    if not places:
        return None
    frame, inside = frames[places[-1]], frames[places[-1] + 1 :]
    if frame.f_code is not build_from_cfg.__code__:
        return _describe_step(error, cfg, frame, inside)
    part = frame.f_locals.get('cfg')
    if not isinstance(part, dict):
        key = _key_in_parent(cfg, frames, places, part)
        return f'{key or "a part"}={part!r}, where a dictionary is expected'
    key = find_key(cfg, part)
    if 'type' not in part and 'obj_type' not in frame.f_locals:
        known = ', '.join(map(str, part)) or 'no settings'
        return f"{key or f'a part ({known})'} has no 'type'"
    kind, thing = frame.f_locals.get('obj_type'), frame.f_locals.get('obj_cls')
    named = f"type='{shown_type(kind)}'"
    where = f'{key} ({named})' if key else named
    if thing is None:
        return _unknown_type(key, kind, frame.f_locals.get('registry'))
    if inside and _is_ours(inside[-1]):
        return None
    return f'{where} {_refusal(error, thing, frame.f_locals.get("args") or {})}'


def _unknown_type(
    key: str | None, kind: Any, registry: Any, suffix: str = '.type'
) -> str:
    name = f'{key}{suffix}' if key else 'type'
    if not isinstance(kind, str):
        return f'{name}={kind!r}, where the name of a class is expected'
    if not isinstance(registry, Registry):
        return f"{name}='{kind}' is unknown"
    scope = registry.scope
    return (
        f"{name}='{kind}' is unknown among what {scope} registers as "
        f'{registry.name}{suggestion(kind, _registered(registry))}'
    )


def _registered(registry: Registry) -> list[str]:
    """List the names that can be given as ``type``, with scopes where needed."""
    names = list(registry.module_dict)
    uppermost = registry
    while uppermost.parent is not None:
        uppermost = uppermost.parent
        names += uppermost.module_dict
    for scope, child in uppermost.children.items():
        names += [f'{scope}.{name}' for name in child.module_dict]
    return names


def _refusal(error: Exception, thing: Callable, args: dict) -> str:
    """Say what a class has against the settings that it was called with."""
    text = str(error)
    if found := re.search(r"unexpected keyword argument '(\w+)'", text):
        if found[1] in args:
            known = accepted_arguments(thing) or list(parameters_of(thing))
            return f"has no argument '{found[1]}'{suggestion(found[1], known)}"
    elif found := re.search(r'missing \d+ required [\w-]+ arguments?: (.+)', text):
        names = re.findall(r"'(\w+)'", found[1])
        if not set(names) & set(args):
            return f'needs {" and ".join(names)}'
    elif found := _NO_MEMORY.search(text):
        size = f' {int(found[1]) / 2**30:,.0f} GiB' if found[1] else ''
        return f'asks for more memory than there is{size and f" ({size.strip()})"}'
    parameters = parameters_of(thing)
    for name, value in args.items():
        expected = getattr(parameters.get(name), 'annotation', None)
        expected = getattr(expected, '__name__', str(expected))
        if value is not None and expected in _SIMPLE:
            allowed = _SIMPLE[expected]
            if not isinstance(value, allowed):  # type: ignore[arg-type]
                return f'takes a value of {expected} as {name}, and got {value!r}'
    return f'refuses its settings ({reason(error)})'


def _is_ours(frame: FrameType) -> bool:
    return frame.f_globals.get('__name__', '').partition('.')[0] == 'mmdcls'


def _key_in_parent(
    cfg: Config, frames: list[FrameType], places: list[int], part: object
) -> str | None:
    """Find the key of a value that is no dictionary among the settings around it."""
    for place in places[-2::-1]:
        settings = frames[place].f_locals.get('cfg')
        if isinstance(settings, dict):
            names = [name for name, value in settings.items() if value == part]
            around = find_key(cfg, settings)
            return f'{around}.{names[0]}' if around and names else None
    return next((name for name, value in cfg.items() if value == part), None)


def find_key(cfg: Config, part: object) -> str | None:
    """Return the dotted key under which a config has a dictionary, if it has it."""
    if not isinstance(part, dict):
        return None
    parts = list(_walk(cfg._cfg_dict, ''))
    for key, value in parts:
        if value is part or value == part:
            return key
    # What builds it may have filled in defaults, or taken settings out.
    for alike in (
        [key for key, value in parts if value and _is_within(value, part)],
        [key for key, value in parts if part.get('type') == value.get('type', '')],
    ):
        if len(alike) == 1:
            return alike[0]
    return None


def _is_within(few: dict, many: dict) -> bool:
    return all(name in many and many[name] == value for name, value in few.items())


def _walk(value: Any, key: str) -> Iterator[tuple[str, dict]]:
    """Yield every dictionary in a config with its key."""
    if isinstance(value, dict):
        if key:
            yield key, value
        for name, inner in value.items():
            yield from _walk(inner, f'{key}.{name}' if key else str(name))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from _walk(inner, f'{key}[{i}]')
