"""Words of messages about configs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from mmengine.config import Config


def name_of(cfg: Config) -> str:
    """Return the words that a message has for a config: its file, if it has one."""
    return f"config '{cfg.filename}'" if cfg.filename else 'config'


def shown_type(kind: Any) -> str:
    """Write what a config has as ``type``: a name, or the class itself."""
    return kind if isinstance(kind, str) else getattr(kind, '__name__', repr(kind))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Name what is near to an unknown name, for the end of a message, if anything is.

    Example:
        >>> suggestion('ConvNext', ['ConvNeXt', 'ResNet'])
        "; the nearest is 'ConvNeXt'"
    """
    by_letters = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), by_letters, 1, 0.7)
    return f"; the nearest is '{by_letters[near[0]]}'" if near else ''


def reason(error: BaseException) -> str:
    """Write an error in one line: its kind, and what it says without its full stop."""
    text = ' '.join(str(error).split()).rstrip('.')
    return f'{type(error).__name__}: {text}' if text else type(error).__name__
