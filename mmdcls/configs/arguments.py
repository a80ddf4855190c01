"""Which class a config's ``type`` names, and which arguments it takes."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from mmengine import registry as root
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry


def registries() -> Iterator[Registry]:
    """Yield the root registries of mmengine."""
    for value in vars(root).values():
        if isinstance(value, Registry):
            yield value


def find_type(cfg: Config, kind: Any) -> Callable | None:
    """Return what ``type=kind`` names in a config; None if no registry knows it.

    Names that several registries know, for different things, count as unknown.
    """
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    found = {}
    scope = cfg.get('default_scope') or 'mmengine'
    with suppress(ImportError):
        importlib.import_module(f'{scope}.registry')
    with DefaultScope.overwrite_default_scope(scope):
        for registry in registries():
            if scope not in (registry.scope, *registry.children):
                continue  # mmengine would warn of it.
            with registry.switch_scope_and_registry(None) as scoped:
                if (thing := scoped.get(kind)) is not None:
                    found[id(thing)] = thing
    return next(iter(found.values())) if len(found) == 1 else None


def accepted_arguments(kind: Callable) -> list[str] | None:
    """List the arguments that a class or function takes, its parents' included.

    Returns:
        None if it takes any, or if it cannot be told.
    """
    names: list[str] = []
    for init in _initializers(kind):
        try:
            parameters = list(inspect.signature(init).parameters.values())
        except (TypeError, ValueError):
            return None
        any_number = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        names += [p.name for p in parameters if p.kind not in any_number]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return [*dict.fromkeys(names), '_scope_', '_delete_', 'type']
    return None


def _initializers(kind: Callable) -> Iterator[Callable]:
    """Yield the constructors that hand keywords on to one another."""
    if not inspect.isclass(kind):
        yield kind
        return
    for cls in kind.__mro__:
        if '__init__' in vars(cls) and cls is not object:
            yield vars(cls)['__init__']


def parameters_of(kind: Callable) -> dict[str, inspect.Parameter]:
    """Give the parameters of a class or function by name, the first found of each."""
    found: dict[str, inspect.Parameter] = {}
    for init in _initializers(kind):
        try:
            parameters = inspect.signature(init).parameters
        except (TypeError, ValueError):
            break
        for name, parameter in parameters.items():
            found.setdefault(name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return found
