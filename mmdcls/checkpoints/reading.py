"""Read checkpoints without running anything that is hidden in them.

``torch.load(weights_only=True)`` refuses every object outside an allow-list, among them
the ``HistoryBuffer`` that mmengine keeps its logs in, so that OpenMMLab cannot read its
own checkpoints back. Importing this module allows exactly what these checkpoints hold.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from mmdcls.compat import torch_is
from mmdcls.errors import MmdclsError

from .declared_sizes import DeclaredSizeError, check_declared_sizes
from .embedded_config import disarm_configs
from .names import EMA_KEYS, PLAIN_KEYS, find_state_dict, strip_wrappers
from .unpickler import ALLOWED, ForeignNameError, load_as_data

HISTORY_BUFFER_STATISTICS = ('min', 'max', 'current', 'mean')
NUMERIC_DTYPES = '?bBhHiIlLqQefdgFD'
META_KEY = 'meta'
"""Where the header of a ``.safetensors`` file has a checkpoint's ``meta``, as JSON."""


class CheckpointError(MmdclsError, RuntimeError):
    """A checkpoint that cannot be used, said in one sentence that names the file."""


def history_buffer_statistic(owner: object, name: str) -> Callable:
    """Stand in for ``getattr`` in checkpoints, where it names HistoryBuffer's methods.

    Args:
        owner: The object of which the checkpoint asks an attribute.
        name: The name of the attribute.

    Returns:
        One of HistoryBuffer's statistics.

    Raises:
        UnpicklingError: If anything else is asked for.
    """
    if owner is not HistoryBuffer or name not in HISTORY_BUFFER_STATISTICS:
        raise pickle.UnpicklingError(
            f'a checkpoint may not ask for the attribute {name!r} of {owner!r}'
        )
    return getattr(HistoryBuffer, name)


def latin_bytes(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, by which old pickles write bytes.

    Raises:
        UnpicklingError: If it is asked for another encoding than ``'latin1'``.
    """
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it holds a text in the encoding {encoding!r}')
    return text.encode('latin1')


def allow_openmmlab_globals() -> None:
    """Put what OpenMMLab checkpoints hold on the allow-lists, and nothing else."""
    reconstruct, scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    classes = [HistoryBuffer, np.ndarray, np.dtype, argparse.Namespace]
    classes += [type(np.dtype(code)) for code in NUMERIC_DTYPES]
    ALLOWED.update({f'{cls.__module__}.{cls.__name__}': cls for cls in classes})
    # numpy 1 and 2 keep these two under different names; files of both are around.
    for module in ('numpy._core.multiarray', 'numpy.core.multiarray'):
        ALLOWED[f'{module}._reconstruct'] = reconstruct
        ALLOWED[f'{module}.scalar'] = scalar
    for module in ('builtins', '__builtin__'):
        ALLOWED[f'{module}.getattr'] = history_buffer_statistic
    ALLOWED['_codecs.encode'] = latin_bytes
    if torch_is(2, 6):
        torch.serialization.add_safe_globals(
            [(thing, name) for name, thing in ALLOWED.items()]
        )


def read_checkpoint(
    filename: str | os.PathLike, map_location: str | torch.device | None = 'cpu'
) -> dict:
    """Read a checkpoint file; refuse, and do not run, anything but data.

    Configs that the file carries as text are disarmed, see :func:`disarm_configs`.

    Args:
        filename: A file written by ``torch.save``, or a ``.safetensors`` file.
        map_location: The device of the tensors, as in :func:`torch.load`.

    Returns:
        The dictionary in the file. For a ``.safetensors`` file these are the tensors by
        their names or, if :func:`write_safetensors` put a ``meta`` beside them, both.

    Raises:
        CheckpointError: If the file is missing, is no complete checkpoint, holds
            something that is not data, declares more than it holds, or is not a
            dictionary.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise CheckpointError(f"The checkpoint '{filename}' does not exist.")
    try:
        if path.suffix == '.safetensors':
            return _read_safetensors(path, str(map_location or 'cpu'))
        check_declared_sizes(path)
        checkpoint = load_as_data(path, map_location)
    except DeclaredSizeError as error:
        raise CheckpointError(
            f"'{filename}' was refused before it was loaded: {error}."
        ) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, error)) from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"'{filename}' is not a complete checkpoint ({reason})."
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"'{filename}' holds a {type(checkpoint).__name__} instead of a dictionary "
            'of tensors.'
        )
    disarm_configs(checkpoint, filename)
    return checkpoint


def _read_safetensors(path: Path, device: str) -> dict:
    from safetensors import safe_open

    with safe_open(path, framework='pt', device=device) as file:
        facts = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if META_KEY not in facts:
        return tensors
    return {'state_dict': tensors, 'meta': json.loads(facts[META_KEY])}


def write_safetensors(checkpoint: dict, path: str | os.PathLike) -> None:
    """Write the tensors of a checkpoint, and its ``meta``, as ``.safetensors``.

    Args:
        checkpoint: A dictionary with a state dict, see :func:`find_state_dict`. All
            else but its ``meta``, which JSON must be able to hold, is left out.
        path: The file to write.
    """
    from safetensors.torch import save_file

    facts = {'format': 'pt'}
    if checkpoint.get('meta'):
        facts[META_KEY] = json.dumps(checkpoint['meta'])
    # Tensors that share memory, as shared positions do, are refused.
    tensors = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in find_state_dict(checkpoint)[1].items()
    }
    save_file(tensors, path, facts)


def tensors_of(
    checkpoint: dict, expected: Collection[str] = (), source: object = 'a checkpoint'
) -> dict[str, Tensor]:
    """Give a checkpoint's tensors, by the names that the bare model has for them.

    Args:
        checkpoint: The content of a file, as :func:`read_checkpoint` gives it.
        expected: The model's names, see :func:`strip_wrappers`.
        source: The file's name, for the message.

    Raises:
        CheckpointError: If :func:`check_tensors` raises it.
    """
    tensors = find_state_dict(checkpoint)[1]
    check_tensors(tensors, source)
    return strip_wrappers(tensors, expected)


def check_tensors(found: Mapping, source: object) -> None:
    """Insist that a checkpoint has finite tensors by their names, and nothing else.

    Args:
        found: What is where the tensors should be, see :func:`find_state_dict`.
        source: The file's name, for the message.

    Raises:
        CheckpointError: If there are none; if a name is no text; if a value is no
            tensor, or is NaN or infinite.
    """
    if not found:
        raise CheckpointError(f"'{source}' holds no tensors.")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            wrong = (
                f"'{name}' is of type {type(value).__name__} where a tensor is expected"
                if isinstance(name, str)
                else f'it has the name {name!r}, which is no text'
            )
            raise CheckpointError(
                f"'{source}' is no checkpoint of a model: {wrong}; accepted are a "
                f'state dict and one under {", ".join((*PLAIN_KEYS, *EMA_KEYS))}.'
            )
    bad = [
        name
        for name, tensor in found.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if bad:
        others = f' and {len(bad) - 1} other tensors' if len(bad) > 1 else ''
        raise CheckpointError(
            f"'{source}' holds values that are NaN or infinite in '{bad[0]}'{others}; "
            'the training that wrote it diverged.'
        )


def _refusal(path: Path, error: Exception) -> str:
    """Say what in the file was refused, as far as it can be told."""
    unsafe = [error.name] if isinstance(error, ForeignNameError) else []
    if torch_is(2, 6):
        # Files in torch's formats before 1.6 cannot be listed.
        with suppress(Exception):
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    if unsafe:
        return (
            f"'{path}' holds {', '.join(sorted(unsafe))}, which no checkpoint needs; "
            'it was refused and nothing in it was run.'
        )
    reason = str(error).splitlines()[0].rstrip('.')
    return f"'{path}' was refused and nothing in it was run: {reason}."


allow_openmmlab_globals()
