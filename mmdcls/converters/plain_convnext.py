"""Start a ConvNeXt-dcls from the other layers of a trained plain ConvNeXt."""

from __future__ import annotations

import os
import re
from functools import partial

import torch
from mmengine.registry import MODELS, DefaultScope

from mmdcls.checkpoints.comparison import compare_state_dicts
from mmdcls.checkpoints.names import note_unknown_prefix
from mmdcls.checkpoints.reading import CheckpointError

from .checkpoint_files import Checkpoint, open_checkpoint
from .conversion import Conversion
from .names import (
    OFFICIAL_POSITIONS,
    OUR_POSITIONS,
    TASKS,
    detect_task,
    our_name,
    rename,
)
from .reference_models import class_count, dataset_meta, reference_for

_DEPTHWISE = re.compile(r'^backbone\.stages\.\d+\.\d+\.depthwise_conv\.')


def convnext_to_mmdcls(
    filename: str | os.PathLike,
    config: str | os.PathLike | None = None,
    seed: int = 0,
    prefer_ema: bool = True,
) -> Conversion:
    """Make a ConvNeXt-dcls classifier from a plain ConvNeXt's checkpoint.

    Every layer but the depthwise convolutions has the file's values; those have fresh
    weights, biases and positions, as before any training. A file without a classifier
    gives a checkpoint without one.

    Args:
        filename: A classifier of ConvNeXt's own repository or of mmpretrain.
        config: Classification config to convert for, instead of tiny, small or base.
        seed: The seed of the fresh values.
        prefer_ema: Whether to take averaged weights where there are both.

    Returns:
        The conversion; :meth:`Conversion.check` it before its use.

    Raises:
        CheckpointError: If the file cannot be read, is no plain ConvNeXt, or is of
            another size.
    """
    checkpoint = open_checkpoint(filename, prefer_ema)
    _check_plain(checkpoint)
    ours = any(name.startswith('backbone.') for name in checkpoint.state_dict)
    translate = str if ours else partial(our_name, task='cls')
    found, old_names = rename(checkpoint.state_dict, translate)
    reference = reference_for(found, 'cls', config)
    kept = {
        name: tensor for name, tensor in found.items() if not _DEPTHWISE.match(name)
    }
    expected = {
        name: tensor
        for name, tensor in reference.state_dict.items()
        if not _DEPTHWISE.match(name)
        and (class_count(found, 'cls') or not name.startswith('head.'))
    }
    conversion = Conversion(
        checkpoint=checkpoint,
        task='cls',
        reference=reference,
        state_dict=kept,
        old_names={name: old_names[name] for name in kept},
        dropped=[old_names[name] for name in found if name not in kept],
        differences=compare_state_dicts(expected, kept, old_names),
    )
    if conversion.differences:
        return conversion
    fresh = _fresh_depthwise(reference, seed)
    conversion.fresh = list(fresh)
    conversion.state_dict = {
        name: kept[name] if name in kept else fresh[name]
        for name in reference.state_dict
        if name in kept or name in fresh
    }
    meta = dataset_meta(checkpoint.meta, 'cls', class_count(kept, 'cls'))
    conversion.content = {'meta': meta, 'state_dict': conversion.state_dict}
    return conversion


def _check_plain(checkpoint: Checkpoint) -> None:
    names = checkpoint.state_dict
    if any(OFFICIAL_POSITIONS.search(n) or OUR_POSITIONS.search(n) for n in names):
        raise CheckpointError(
            f"--from-convnext: '{checkpoint.path}' has positions already; convert it "
            'without this flag.'
        )
    task = detect_task(names)
    if task in ('seg', 'det'):
        raise CheckpointError(
            f"--from-convnext: '{checkpoint.path}' holds a {TASKS[task]} model; a "
            'classifier is needed.'
        )
    if not any(
        re.fullmatch(
            r'(backbone\.)?stages\.\d+\.\d+\.(dwconv|depthwise_conv)\.weight', n
        )
        for n in names
    ):
        raise CheckpointError(
            f"--from-convnext: '{checkpoint.path}' is no ConvNeXt of its authors or of "
            f"mmpretrain: it has '{next(iter(names))}' and no 'stages.*.dwconv.weight' "
            f"(mmpretrain has a converter for timm's){note_unknown_prefix(names)}."
        )


def _fresh_depthwise(reference, seed):
    """Return the values that training from scratch gives the depthwise convolutions."""
    with (
        torch.random.fork_rng(devices=[]),
        DefaultScope.overwrite_default_scope(reference.scope),
    ):
        torch.manual_seed(seed)
        model = MODELS.build(reference.model)
        model.init_weights()
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if _DEPTHWISE.match(name)
    }
