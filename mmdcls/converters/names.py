"""The names of tensors in the authors' checkpoints and in ours.

The authors' classifier is timm-style, without a ``backbone.`` prefix; their downstream
models are mmseg 0.x's and mmdet 2.x's, whose heads and necks kept their names in mmseg
1.x and mmdet 3.x. So only the backbone and the classifier's head are renamed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from mmdcls.checkpoints.reading import CheckpointError

TASKS = {'cls': 'classification', 'seg': 'segmentation', 'det': 'detection'}

OFFICIAL_POSITIONS = re.compile(r'(^|\.)stages\.\d+\.\d+\.dwconv\.P$')
OUR_POSITIONS = re.compile(r'(^|\.)stages\.(\d+)\.\d+\.depthwise_conv\.positions$')

# Grid indices and kernel size in the authors' layer of dcls 0.0.1 (November 2022 to
# January 2023), and in no other. They are derived from the kernel's size, so they are
# dropped; that they are there tells what the positions mean.
LAYER_BUFFERS = re.compile(r'\.dwconv\.DCK\.(I|J|lim)$')

_BLOCK = re.compile(r'^(stages\.\d+\.\d+)\.(.+)$')
_BLOCK_NAMES = {
    'dwconv.P': 'depthwise_conv.positions',
    'dwconv.weight': 'depthwise_conv.weight',
    'dwconv.bias': 'depthwise_conv.bias',
    'pwconv1.weight': 'pointwise_conv1.weight',
    'pwconv1.bias': 'pointwise_conv1.bias',
    'pwconv2.weight': 'pointwise_conv2.weight',
    'pwconv2.bias': 'pointwise_conv2.bias',
}
_OFFICIAL_BLOCK_NAMES = {ours: official for official, ours in _BLOCK_NAMES.items()}


def detect_task(names: Iterable[str]) -> str | None:
    """Tell by its heads which of :data:`TASKS` a state dict is for, either naming."""
    roots = {name.split('.')[0] for name in names}
    for root, task in (('roi_head', 'det'), ('decode_head', 'seg'), ('head', 'cls')):
        if root in roots:
            return task
    return 'cls' if 'stages' in roots else None


def our_name(official: str, task: str) -> str:
    """Translate a name of the authors' checkpoints; unknown names stay as they are."""
    root, _, rest = official.partition('.')
    if task != 'cls':
        return (
            f'backbone.{_translate(rest, _BLOCK_NAMES)}'
            if root == 'backbone'
            else (official)
        )
    if root == 'head':
        return f'head.fc.{rest}'
    if root == 'norm':
        return f'backbone.norm3.{rest}'
    if root in ('stages', 'downsample_layers'):
        return f'backbone.{_translate(official, _BLOCK_NAMES)}'
    return official


def official_name(ours: str, task: str) -> str:
    """Translate back; unknown names stay as they are."""
    root, _, rest = ours.partition('.')
    if root == 'backbone':
        rest = _translate(rest, _OFFICIAL_BLOCK_NAMES)
        if task != 'cls':
            return f'backbone.{rest}'
        return re.sub(r'^norm3\.', 'norm.', rest)
    if task == 'cls' and ours.startswith('head.fc.'):
        return f'head.{ours.removeprefix("head.fc.")}'
    return ours


def _translate(name: str, block_names: Mapping[str, str]) -> str:
    match = _BLOCK.match(name)
    if match is None:
        return name
    return f'{match[1]}.{block_names.get(match[2], match[2])}'


def rename(
    state_dict: Mapping[str, Tensor], translate: Callable[[str], str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Rename every tensor, in the order of ``state_dict``.

    Returns:
        The renamed tensors, and their old names by their new ones.

    Raises:
        CheckpointError: If two tensors would have the same name.
    """
    renamed: dict[str, Tensor] = {}
    old_names: dict[str, str] = {}
    for old, tensor in state_dict.items():
        new = translate(old)
        if new in renamed:
            raise CheckpointError(
                f"'{old_names[new]}' and '{old}' of the checkpoint are both '{new}'."
            )
        renamed[new] = tensor
        old_names[new] = old
    return renamed, old_names
