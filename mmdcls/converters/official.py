"""From the authors' checkpoints to ours, and back.

Tensors are renamed; ``dwconv.P`` may also need its axes swapped and be clamped, by the
layer that the file belongs to (see :mod:`mmdcls.converters.positions`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from mmdcls.checkpoints.comparison import compare_state_dicts
from mmdcls.checkpoints.names import note_unknown_prefix
from mmdcls.checkpoints.reading import CheckpointError

from .checkpoint_files import Checkpoint, open_checkpoint
from .conversion import Conversion
from .names import (
    LAYER_BUFFERS,
    OFFICIAL_POSITIONS,
    OUR_POSITIONS,
    TASKS,
    detect_task,
    official_name,
    our_name,
    rename,
)
from .positions import (
    PositionConvention,
    check_kernel_sizes,
    convention_of,
    settle_positions,
)
from .reference_models import class_count, dataset_meta, reference_for


def official_to_mmdcls(
    filename: str | os.PathLike,
    task: str | None = None,
    config: str | os.PathLike | None = None,
    share_positions: bool = True,
    prefer_ema: bool = True,
    columns_first: bool = False,
    clamp: bool | None = None,
) -> Conversion:
    """Convert a checkpoint of the authors' repository into one for our configs.

    Args:
        filename: Theirs, in any layout that :func:`open_checkpoint` reads.
        task: ``'cls'``, ``'seg'`` or ``'det'``; by default what the file's heads say.
        config: One of our configs to convert for, instead of that of a released model.
        share_positions: Insist that the blocks of a stage have equal positions.
        prefer_ema: Whether to take averaged weights where there are both.
        columns_first: The file belongs to a layer of dcls 0.0.1 to 0.0.5, whose first
            axis of positions runs along columns. That of 0.0.1 is recognised.
        clamp: Whether to clamp positions to the kernel; by default as the file's layer
            does in its forward pass, where that is known.

    Returns:
        The conversion; :meth:`Conversion.check` it before its use.

    Raises:
        CheckpointError: If the file cannot be read, is not the authors', is for
            another task, is of no released size, has positions that differ within a
            stage, or has positions beyond the kernel and neither the file nor ``clamp``
            tells what they mean.
    """
    checkpoint = open_checkpoint(filename, prefer_ema)
    _check_official(checkpoint)
    task = _settle_task(checkpoint, task)
    kept = {
        name: tensor
        for name, tensor in checkpoint.state_dict.items()
        if not LAYER_BUFFERS.search(name)
    }
    state_dict, old_names = rename(kept, partial(our_name, task=task))
    reference = reference_for(state_dict, task, config)
    conversion = Conversion(
        checkpoint=checkpoint,
        task=task,
        reference=reference,
        state_dict=state_dict,
        old_names=old_names,
        dropped=[name for name in checkpoint.state_dict if name not in kept],
        differences=compare_state_dicts(reference.state_dict, state_dict, old_names),
    )
    if not conversion.differences:
        check_kernel_sizes(conversion)
        convention = convention_of(checkpoint, columns_first, clamp)
        settle_positions(conversion, share_positions, convention)
    meta = dataset_meta(checkpoint.meta, task, class_count(state_dict, task))
    conversion.content = {
        'meta': {**checkpoint.meta, **meta},
        'state_dict': conversion.state_dict,
    }
    return conversion


def mmdcls_to_official(
    filename: str | os.PathLike,
    task: str | None = None,
    config: str | os.PathLike | None = None,
    share_positions: bool = True,
    columns_first: bool = False,
) -> Conversion:
    """Convert one of our checkpoints into one for the authors' repository.

    Args and errors are those of :func:`official_to_mmdcls`, whose inverse this is, bit
    for bit. Positions beyond the kernel are kept.
    """
    # mmengine puts averaged weights into 'state_dict' itself.
    checkpoint = open_checkpoint(filename, prefer_ema=False)
    _check_ours(checkpoint)
    task = _settle_task(checkpoint, task)
    reference = reference_for(checkpoint.state_dict, task, config)
    unchanged = {name: name for name in checkpoint.state_dict}
    conversion = Conversion(
        checkpoint=checkpoint,
        task=task,
        reference=reference,
        state_dict=dict(checkpoint.state_dict),
        old_names=unchanged,
        differences=compare_state_dicts(
            reference.state_dict, checkpoint.state_dict, unchanged
        ),
    )
    if conversion.differences:
        return conversion
    convention = PositionConvention(columns_first, clamps=False)
    settle_positions(conversion, share_positions, convention)
    conversion.state_dict, conversion.old_names = rename(
        conversion.state_dict, partial(official_name, task=task)
    )
    if task == 'cls':
        conversion.content = {'model': conversion.state_dict}
    else:
        conversion.content = {
            'meta': _meta_of_mmcv(checkpoint.meta),
            'state_dict': conversion.state_dict,
        }
    return conversion


def _meta_of_mmcv(meta: Mapping) -> dict:
    """Return ``meta`` with classes under the names that mmcv 1 knows."""
    classes = meta.get('dataset_meta', {})
    named = {'CLASSES': classes.get('classes'), 'PALETTE': classes.get('palette')}
    kept = {key: value for key, value in meta.items() if key != 'dataset_meta'}
    return {**kept, **{key: value for key, value in named.items() if value}}


def _check_official(checkpoint: Checkpoint) -> None:
    names = checkpoint.state_dict
    if any(OFFICIAL_POSITIONS.search(name) for name in names):
        return
    if any(OUR_POSITIONS.search(name) for name in names):
        raise CheckpointError(
            f"'{checkpoint.path}' has the names of mmdcls already and needs no "
            'conversion.'
        )
    if any(
        name.endswith(('.dwconv.weight', '.depthwise_conv.weight')) for name in names
    ):
        raise CheckpointError(
            f"'{checkpoint.path}' is a plain ConvNeXt, without positions "
            "('stages.*.dwconv.P'); --from-convnext starts a ConvNeXt-dcls from it."
        )
    raise CheckpointError(
        f"'{checkpoint.path}' is of another architecture than ConvNeXt-dcls: it has "
        f"'{next(iter(names))}' and no 'stages.*.dwconv.P'{note_unknown_prefix(names)}."
    )


def _check_ours(checkpoint: Checkpoint) -> None:
    names = checkpoint.state_dict
    if any(OUR_POSITIONS.search(name) for name in names):
        return
    if any(OFFICIAL_POSITIONS.search(name) for name in names):
        raise CheckpointError(
            f"'{checkpoint.path}' has the authors' names already and needs no "
            'conversion.'
        )
    raise CheckpointError(
        f"'{checkpoint.path}' is no checkpoint of mmdcls' ConvNeXtDCLS (or was folded "
        f"for deployment): it has '{next(iter(names))}' and no "
        "'backbone.stages.*.depthwise_conv.positions'"
        f'{note_unknown_prefix(names)}.'
    )


def _settle_task(checkpoint: Checkpoint, task: str | None) -> str:
    found = detect_task(checkpoint.state_dict)
    if found is None:
        raise CheckpointError(
            f"'{checkpoint.path}' is for no known task: it has neither 'head', "
            f"'decode_head' nor 'roi_head'{note_unknown_prefix(checkpoint.state_dict)}."
        )
    if task is not None and task != found:
        raise CheckpointError(
            f"`task`={task}: '{checkpoint.path}' holds a {TASKS[found]} model "
            f'({found}).'
        )
    return found
