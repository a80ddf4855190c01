"""From the authors' released checkpoints to ours, and back.

Weights and positions need no change: ``dwconv.weight`` is ``(C, 1, m)`` and
``dwconv.P`` ``(2, C, 1, m)`` with rows first, as our ``weight`` and ``positions`` are.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from mmdcls.checkpoints.comparison import compare_state_dicts
from mmdcls.checkpoints.reading import CheckpointError

from .conversion import Conversion
from .files import Checkpoint, open_checkpoint
from .names import (
    OBSOLETE,
    OFFICIAL_POSITIONS,
    OUR_POSITIONS,
    TASKS,
    detect_task,
    official_name,
    our_name,
    rename,
)
from .reference_models import class_count, dataset_meta, reference_for


def official_to_mmdcls(
    filename: str | os.PathLike,
    task: str | None = None,
    config: str | os.PathLike | None = None,
    share_positions: bool = True,
    prefer_ema: bool = True,
) -> Conversion:
    """Convert a checkpoint of the authors' repository into one for our configs.

    Args:
        filename: Theirs, in any layout that :func:`open_checkpoint` reads.
        task: ``'cls'``, ``'seg'`` or ``'det'``; by default what the file's heads say.
        config: One of our configs to convert for, instead of that of a released model.
        share_positions: Insist that the blocks of a stage have equal positions.
        prefer_ema: Take averaged weights where there are both.

    Returns:
        The conversion; :meth:`Conversion.check` it before its use.

    Raises:
        CheckpointError: If the file cannot be read, is not the authors', is for
            another task, is of no released size, or has positions that differ within a
            stage.
    """
    checkpoint = open_checkpoint(filename, prefer_ema)
    _check_official(checkpoint)
    task = _settle_task(checkpoint, task)
    kept = {
        name: tensor
        for name, tensor in checkpoint.state_dict.items()
        if not OBSOLETE.search(name)
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
        _settle_positions(conversion, share_positions, clamp=True)
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
) -> Conversion:
    """Convert one of our checkpoints into one for the authors' repository.

    Args and errors are those of :func:`official_to_mmdcls`, whose inverse this is, bit
    for bit.
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
    _settle_positions(conversion, share_positions, clamp=False)
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
    """Classes under the names that mmcv 1 knows, and all else as it is."""
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
        f"'{next(iter(names))}' and no 'stages.*.dwconv.P'."
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
        "'backbone.stages.*.depthwise_conv.positions'."
    )


def _settle_task(checkpoint: Checkpoint, task: str | None) -> str:
    found = detect_task(checkpoint.state_dict)
    if found is None:
        raise CheckpointError(
            f"'{checkpoint.path}' is for no known task: it has neither 'head', "
            "'decode_head' nor 'roi_head'."
        )
    if task is not None and task != found:
        raise CheckpointError(
            f"--task {task}: '{checkpoint.path}' holds a {TASKS[found]} model "
            f'({found}).'
        )
    return found


def _settle_positions(conversion: Conversion, share: bool, clamp: bool) -> None:
    """Compare the positions within each stage, and clamp them to the kernel.

    The released downstream models were trained unclamped, with a kernel that clamped
    in its forward pass, so clamping leaves their outputs as they are.

    Raises:
        CheckpointError: If ``share`` and blocks of a stage have different positions.
    """
    stages = defaultdict(list)
    for name in conversion.reference.position_limits:
        stages[OUR_POSITIONS.search(name)[2]].append(name)
    if share:
        _check_equal(conversion, stages)
    for names in stages.values():
        distinct = {}
        for name in names:
            first = names[0] if share else name
            if first not in distinct:
                positions = conversion.state_dict[first]
                conversion.position_tensors += 1
                conversion.position_coordinates += positions.numel()
                if clamp:
                    limits = conversion.reference.position_limits[first]
                    clamped = _clamp(positions, limits)
                    conversion.clamped += int((clamped != positions).sum())
                    positions = clamped
                distinct[first] = positions
            conversion.state_dict[name] = distinct[first]


def _check_equal(conversion: Conversion, stages: Mapping[str, list[str]]) -> None:
    differing = [
        f"'{conversion.old_names[name]}'"
        for first, *others in stages.values()
        for name in others
        if not torch.equal(conversion.state_dict[name], conversion.state_dict[first])
    ]
    if differing:
        raise CheckpointError(
            f"'{conversion.checkpoint.path}' has positions that differ from those of "
            f'the first block of their stage: {", ".join(differing)}; --no-share '
            'accepts them, for a config with model.backbone.share_positions=False.'
        )


def _clamp(positions: Tensor, limits: tuple[int, ...]) -> Tensor:
    return torch.stack(
        [
            position.clamp(-limit, limit)
            for position, limit in zip(positions, limits, strict=True)
        ]
    )
