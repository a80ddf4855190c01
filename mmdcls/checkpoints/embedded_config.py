"""Configs that checkpoints carry as text, which mmengine executes.

``Runner.resume`` and mmengine's inferencers pass such text to ``Config.fromstring``,
that is to ``exec``. A config that mmengine wrote is nothing but assignments of
literals; only such text is let through, written anew.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator

from mmengine.logging import print_log

# Have mmengine read further files or import modules.
_REACHING_OUT = ('_base_', 'custom_imports')


def disarm_configs(checkpoint: dict, filename: object) -> None:
    """Leave only data in the config texts of a checkpoint, in place.

    A text that is no plain data is taken out, which is logged: training and inference
    from a config file do not need it.

    Args:
        checkpoint: The content of the file.
        filename: The file's name, for the log.
    """
    for holder, key in _config_texts(checkpoint):
        try:
            holder[key] = _rewrite(holder[key])
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            del holder[key]
            print_log(
                f"'{filename}' carries a config that is not plain data; it was left "
                'out and not executed.',
                logger='current',
                level=logging.WARNING,
            )


def _config_texts(checkpoint: dict) -> Iterator[tuple[dict, str]]:
    """Yield every place that mmengine takes a config's text from."""
    meta = checkpoint.get('meta')
    hub = checkpoint.get('message_hub')
    runtime_info = hub.get('runtime_info') if isinstance(hub, dict) else None
    for holder, keys in ((meta, ('cfg', 'config')), (runtime_info, ('cfg', 'config'))):
        if isinstance(holder, dict):
            for key in keys:
                if key in holder:
                    yield holder, key


def parse_config(text: object) -> dict:
    """Read a config as data, without executing it.

    Accepted are assignments of literals and ``dict(…)`` to names, which is all that
    mmengine's ``Config.dump`` writes. ``_base_`` and ``custom_imports`` are left out.

    Args:
        text: Python source.

    Returns:
        The values by name.

    Raises:
        ValueError: If ``text`` is something else.
        SyntaxError: If it is no Python.
    """
    if not isinstance(text, str):
        raise ValueError(f'The config is a {type(text).__name__} and no text.')
    values = {}
    for statement in ast.parse(text).body:
        if not (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            raise ValueError(f'Line {statement.lineno} is no assignment to a name.')
        values[statement.targets[0].id] = _evaluate(statement.value)
    return {name: v for name, v in values.items() if name not in _REACHING_OUT}


def _evaluate(node: ast.expr) -> object:
    """Return the value of a literal or a ``dict(…)``, however nested."""
    if isinstance(node, ast.Call):
        return _evaluate_dict_call(node)
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = filter(None, node.keys)
        return {
            _evaluate(key): _evaluate(value)
            for key, value in zip(keys, node.values, strict=True)
        }
    if isinstance(node, ast.List):
        return [_evaluate(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_evaluate(item) for item in node.elts)
    return ast.literal_eval(node)


def _evaluate_dict_call(node: ast.Call) -> dict:
    """Return the value of ``dict(name=…)`` or ``dict({…})``, which mmengine writes."""
    if not (isinstance(node.func, ast.Name) and node.func.id == 'dict'):
        raise ValueError(f'Line {node.lineno} calls something.')
    named = {keyword.arg: _evaluate(keyword.value) for keyword in node.keywords}
    if None in named or len(node.args) > 1:
        raise ValueError(f'Line {node.lineno} unpacks something.')
    return {**dict(*map(_evaluate, node.args)), **named}


def _rewrite(text: object) -> str:
    """Write a config's values as assignments that are safe to execute."""
    values = parse_config(text)
    rewritten = ''.join(f'{name} = {value!r}\n' for name, value in values.items())
    if '{{' in rewritten:
        # mmengine replaces {{…}} in the source, before it executes it.
        raise ValueError('The config has placeholders.')
    return rewritten
