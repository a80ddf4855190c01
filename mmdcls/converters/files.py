"""Find the tensors in a checkpoint file of any usual layout, and write one whole."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mmdcls.checkpoints.reading import CheckpointError, read_checkpoint
from mmdcls.files import refuse_overwriting, written_whole

from .names import rename

# Averaged weights of timm and of ConvNeXt's own training; then everybody's plain ones.
# mmengine's 'ema_state_dict' is not here: it holds the weights that are not averaged.
EMA_KEYS = ('model_ema', 'state_dict_ema')
PLAIN_KEYS = ('state_dict', 'model')


@dataclass
class Checkpoint:
    """The tensors of a checkpoint file.

    Attributes:
        path: The file.
        layout: Which entry the tensors were in; ``'bare'`` if they are all there is.
        state_dict: The tensors, without the prefix that DDP and EMA wrappers add.
        meta: What OpenMMLab checkpoints tell about themselves, class names for example.
    """

    path: Path
    layout: str
    state_dict: dict[str, Tensor]
    meta: dict = field(default_factory=dict)


def open_checkpoint(filename: str | os.PathLike, prefer_ema: bool = True) -> Checkpoint:
    """Read the model's tensors from a file written by torch or as ``.safetensors``.

    Args:
        filename: A bare state dict, or a dictionary with one under ``model``,
            ``state_dict``, ``model_ema`` or ``state_dict_ema``.
        prefer_ema: Take averaged weights where there are both.

    Raises:
        CheckpointError: As :func:`mmdcls.engine.read_checkpoint`; if there are no
            tensors; if one is NaN or infinite.
    """
    # ConvNeXt's training script keeps its command line in its checkpoints.
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = read_checkpoint(filename)
    keys = (*EMA_KEYS, *PLAIN_KEYS) if prefer_ema else PLAIN_KEYS
    layout = next((key for key in keys if isinstance(content.get(key), dict)), 'bare')
    state_dict = content if layout == 'bare' else content[layout]
    if not state_dict:
        raise CheckpointError(f"'{filename}' holds no tensors.")
    for name, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"'{filename}' is no checkpoint of a model: '{name}' is of type "
                f'{type(value).__name__} where a tensor is expected; accepted are a '
                f'state dict and one under {", ".join((*PLAIN_KEYS, *EMA_KEYS))}.'
            )
    state_dict, _ = rename(
        state_dict, lambda name: re.sub(r'^(module\.)+', '', str(name))
    )
    _check_finite(filename, state_dict)
    meta = content.get('meta') if layout != 'bare' else None
    return Checkpoint(
        Path(filename), layout, state_dict, meta if isinstance(meta, dict) else {}
    )


def _check_finite(filename: str | os.PathLike, state_dict: dict[str, Tensor]) -> None:
    bad = [
        name
        for name, tensor in state_dict.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if bad:
        raise CheckpointError(
            f"'{filename}' holds values that are NaN or infinite in '{bad[0]}'"
            + (f' and {len(bad) - 1} other tensors' if len(bad) > 1 else '')
            + '; the training that wrote it diverged.'
        )


def check_destination(
    source: str | os.PathLike,
    target: str | os.PathLike,
    suffixes: Sequence[str] = ('.pth', '.pt'),
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

    Raises:
        CheckpointError: If ``target`` cannot be written.
    """
    try:
        with written_whole(target) as temporary, open(temporary, 'wb') as file:
            torch.save(checkpoint, file)
    except OSError as error:
        raise CheckpointError(f"'{target}' cannot be written ({error}).") from error
