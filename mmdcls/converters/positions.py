"""What the layers that the authors trained with did with positions, and ours does.

Our positions are rows first and are taken as they are, also beyond the kernel. Theirs
are laid out as ours are, ``(2, C, 1, m)``, but what they mean depends on the layer:

=================  ========  ===================  ======================================
layer              ``P[0]``  beyond the kernel    what tells it from a file
=================  ========  ===================  ======================================
CUDA, 2022-09      rows      clamped in forward   saved by mmcv before the next came out
dcls 0.0.1         columns   as they are          ``DCK.I``, ``DCK.J`` and ``DCK.lim``
dcls 0.0.3, 0.0.4  columns   as they are          nothing
dcls 0.0.5         columns   ``v0`` as they are   nothing
dcls >= 0.0.6      rows      ``v0`` as they are   nothing
=================  ========  ===================  ======================================

In 0.0.5 and later, ``v1`` is columns first and normalises each element, so that one up
to a pixel beyond the kernel acts as if it were clamped.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.layers import position_limits

from .checkpoint_files import Checkpoint
from .conversion import Conversion
from .names import LAYER_BUFFERS, OUR_POSITIONS, official_name

# dcls 0.0.1 appeared on 2022-11-08; a day less for the time zones.
_CUDA_LAYER_ONLY_BEFORE = (2022, 11, 7)


@dataclass(frozen=True)
class PositionConvention:
    """What a layer of the authors does with positions.

    Attributes:
        columns_first: Whether ``P[0]`` runs along the columns of the kernel.
        clamps: Whether it clamps positions to the kernel in its forward pass; None if
            that is not known.
    """

    columns_first: bool = False
    clamps: bool | None = None


def convention_of(
    checkpoint: Checkpoint, columns_first: bool = False, clamp: bool | None = None
) -> PositionConvention:
    """Tell as far as possible which of the authors' layers a file belongs to.

    Args:
        checkpoint: A file of theirs.
        columns_first: The user's word that ``P[0]`` runs along columns.
        clamp: The user's word on clamping, which counts more than what the file tells.
    """
    known = PositionConvention(columns_first)
    if any(LAYER_BUFFERS.search(name) for name in checkpoint.state_dict):
        known = PositionConvention(columns_first=True, clamps=False)
    elif not columns_first and _is_of_cuda_layer(checkpoint.meta):
        known = PositionConvention(columns_first=False, clamps=True)
    if clamp is None:
        return known
    return PositionConvention(known.columns_first, clamp)


def settle_positions(
    conversion: Conversion, share: bool, convention: PositionConvention
) -> None:
    """Compare the positions within each stage, and convert them, in place.

    Args:
        conversion: The conversion, whose tensors must fit its reference.
        share: Insist that the blocks of a stage have equal positions.
        convention: The convention of the file that is not ours.

    Raises:
        CheckpointError: If ``share`` and blocks of a stage have different positions;
            if some lie beyond the kernel and it is not known what that means.
    """
    stages = defaultdict(list)
    for name in conversion.reference.kernel_sizes:
        stages[OUR_POSITIONS.search(name)[2]].append(name)  # type: ignore[index]
    if share:
        _check_equal(conversion, stages)
    for names in stages.values():
        settled = {}
        for name in names:
            first = names[0] if share else name
            if first not in settled:
                settled[first] = _settle(conversion, first, convention)
            conversion.state_dict[name] = settled[first]
    conversion.positions.swapped = convention.columns_first
    conversion.positions.clamped = bool(convention.clamps)
    if conversion.positions.beyond and convention.clamps is None:
        raise CheckpointError(_what_lies_beyond(conversion))


def check_kernel_sizes(conversion: Conversion) -> None:
    """Compare the sizes that ``DCK.lim`` tells with those of the model.

    Raises:
        CheckpointError: If a kernel of the file is of another size.
    """
    tensors = conversion.checkpoint.state_dict
    for ours, expected in conversion.reference.kernel_sizes.items():
        positions = official_name(ours, conversion.task)
        name = f'{positions.removesuffix("P")}DCK.lim'
        sizes = tensors[name].unique().tolist() if name in tensors else expected
        if set(sizes) != set(expected):
            raise CheckpointError(
                f"'{name}' of '{conversion.checkpoint.path}' tells of kernels of size "
                f'{" and ".join(f"{size:g}" for size in sizes)}, and those of '
                f'{conversion.reference.description} are of size {expected[0]}; name '
                'the config that the file belongs to with `config`.'
            )


def _is_of_cuda_layer(meta: Mapping) -> bool:
    """Tell whether mmcv 1 saved the file when there was no other layer yet."""
    try:
        saved = time.strptime(str(meta.get('time')), '%a %b %d %H:%M:%S %Y')
    except ValueError:
        return False
    return saved[:3] < _CUDA_LAYER_ONLY_BEFORE


def _settle(
    conversion: Conversion, name: str, convention: PositionConvention
) -> Tensor:
    positions = conversion.state_dict[name]
    if convention.columns_first:
        positions = positions.flip(0)
    limits = position_limits(positions, conversion.reference.kernel_sizes[name])
    excess = positions.abs() - limits
    changes = conversion.positions
    changes.tensors += 1
    changes.coordinates += positions.numel()
    changes.beyond += int((excess > 0).sum())
    changes.farthest = max(changes.farthest, float(excess.max()))
    return positions.clamp(-limits, limits) if convention.clamps else positions


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
            f'the first block of their stage: {", ".join(differing)}; `no_share` '
            'accepts them, for a config with model.backbone.share_positions=False.'
        )


def _what_lies_beyond(conversion: Conversion) -> str:
    changes = conversion.positions
    return (
        f"'{conversion.checkpoint.path}' has {changes.beyond} of "
        f'{changes.coordinates} position coordinates beyond the kernel, by up to '
        f'{changes.farthest:.2g} pixels, and does not tell what its layer does with '
        "them: give `clamp` if it is the authors' CUDA layer of 2022, as for the files "
        'that they released, or `no_clamp` if it is of the dcls package.'
    )
