"""Find the tensors in a checkpoint file of any usual layout, and write one whole."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mmdcls.checkpoints.names import (
    find_state_dict,
    strip_wrappers,
)
from mmdcls.checkpoints.reading import (
    CheckpointError,
    check_tensors,
    read_checkpoint,
    write_safetensors,
)
from mmdcls.checkpoints.sources import WEB, download
from mmdcls.checkpoints.unpickler import mark
from mmdcls.files import refuse_overwriting, written_whole


@dataclass
class Checkpoint:
    """The tensors of a checkpoint file.

    Attributes:
        path: The file.
        layout: The entry that the tensors were in; ``'bare'`` if they are all there is.
        state_dict: The tensors, by the names that an unwrapped model has for them.
        meta: The facts that OpenMMLab checkpoints tell about themselves, class names
            for example.
    """

    path: Path
    layout: str
    state_dict: dict[str, Tensor]
    meta: dict = field(default_factory=dict)


def open_checkpoint(
    filename: str | os.PathLike,
    prefer_ema: bool = True,
    expected: Collection[str] = (),
) -> Checkpoint:
    """Read the model's tensors from a file written by torch or as ``.safetensors``.

    Args:
        filename: A file, or its address (``https://…``). It holds a bare state dict, or
            a dictionary with one under a key of
            :data:`mmdcls.checkpoints.names.PLAIN_KEYS` or ``EMA_KEYS``.
        prefer_ema: Whether to take averaged weights where there are both.
        expected: The names of the model, where it is known, as
            :func:`mmdcls.checkpoints.names.strip_wrappers` takes them.

    Raises:
        CheckpointError: If :func:`mmdcls.checkpoints.read_checkpoint` raises it; if
            there are no tensors; if one is NaN or infinite; if it is DeepSpeed's of one
            process and the weights are spread over others.
    """
    if str(filename).startswith(WEB):
        filename = download(str(filename))
    content = read_checkpoint(filename)
    layout, state_dict = find_state_dict(content, prefer_ema)
    check_tensors(state_dict, filename)
    _check_whole(filename, layout, state_dict)
    state_dict = strip_wrappers(state_dict, expected)
    meta = content.get('meta') if layout != 'bare' else None
    return Checkpoint(
        Path(filename), layout, state_dict, meta if isinstance(meta, dict) else {}
    )


def _check_whole(
    filename: str | os.PathLike, layout: str, state_dict: Mapping[str, Tensor]
) -> None:
    """Refuse DeepSpeed's file of one process, in which ZeRO 3 leaves empty tensors."""
    empty = [name for name, value in state_dict.items() if value.numel() == 0]
    if layout == 'module' and empty:
        raise CheckpointError(
            f"'{filename}' is DeepSpeed's file of one process, and '{empty[0]}' is "
            f'spread over the others ({len(empty)} such tensors); convert the folder '
            'that it is in with the zero_to_fp32.py there.'
        )


def check_destination(
    source: str | os.PathLike,
    target: str | os.PathLike,
    suffixes: Sequence[str] = ('.pth', '.pt', '.safetensors'),
) -> None:
    """Refuse a target that cannot be written, before any work.

    Raises:
        CheckpointError: If ``target`` is a folder, or ends otherwise than in one of
            ``suffixes``.
        OverwritingError: If it is the source.
    """
    target = Path(target)
    if target.suffix not in suffixes:
        raise CheckpointError(
            f"The file to write, '{target}', must end in {' or '.join(suffixes)}."
        )
    if target.is_dir():
        raise CheckpointError(f"'{target}' is a folder; name a file in it.")
    refuse_overwriting([target], [source])


def write_checkpoint(checkpoint: dict, target: str | os.PathLike) -> None:
    """Write a checkpoint, all of it or nothing; missing folders are made.

    Args:
        checkpoint: A dictionary with a state dict.
        target: The file, which :func:`torch.save` writes, or
            :func:`mmdcls.checkpoints.reading.write_safetensors` for ``.safetensors``.

    Raises:
        CheckpointError: If ``target`` cannot be written.
    """
    try:
        with written_whole(target) as temporary:
            if Path(target).suffix == '.safetensors':
                write_safetensors(checkpoint, temporary)
                return
            if 'meta' in checkpoint:
                checkpoint = {**checkpoint, 'meta': {**checkpoint['meta']}}
                mark(checkpoint)
            with open(temporary, 'wb') as file:
                torch.save(checkpoint, file)
    except OSError as error:
        raise CheckpointError(f"'{target}' cannot be written ({error}).") from error
