"""The model that a checkpoint must fit: its config, and its tensors' names and shapes.

Models are built on PyTorch's ``meta`` device, that is without memory for their values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models import ConvNeXt
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.configs import SCOPES, building_from, read_config
from mmdcls.layers import named_dcls_layers

SCOPE_OF_TASK = dict(zip(('cls', 'seg', 'det'), SCOPES, strict=True))

# Paper §4.2: the elements of the 17x17 kernels of each released size.
RELEASED_KERNEL_COUNTS = {'tiny': 34, 'small': 40, 'base': 40}
RELEASED_CLASS_COUNTS = {'cls': 1000, 'seg': 150, 'det': 80}

# What the released downstream models are, apart from their backbone.
_UPSTREAM_CONFIGS = {
    'seg': 'mmseg::convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py',
    'det': 'mmdet::convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-'
    'ms-crop-3x_coco.py',
}
_CLASSES_OF = {
    'cls': 'head.fc.weight',
    'seg': 'decode_head.conv_seg.weight',
    'det': 'roi_head.mask_head.0.conv_logits.weight',
}
_DEPTHWISE_WEIGHT = re.compile(
    r'^backbone\.stages\.(\d+)\.(\d+)\.depthwise_conv\.weight$'
)


@dataclass(frozen=True)
class Reference:
    """A model that a checkpoint is compared with.

    Attributes:
        description: The words for the model in messages.
        state_dict: The model's tensors, of which only names and shapes are known.
        kernel_sizes: The dilated size of the kernel of each positions tensor, by the
            tensor's name.
        model: The model's config.
        scope: OpenMMLab's scope of the config.
    """

    description: str
    state_dict: dict[str, Tensor]
    kernel_sizes: dict[str, tuple[int, ...]]
    model: ConfigDict
    scope: str


def reference_for(
    state_dict: Mapping[str, Tensor], task: str, config: str | os.PathLike | None = None
) -> Reference:
    """Return the model that tensors with our names claim to belong to.

    Args:
        state_dict: The tensors, of which a few shapes are looked at.
        task: ``'cls'``, ``'seg'`` or ``'det'``.
        config: The model of this config instead of a released one.

    Raises:
        CheckpointError: If there is no ``config`` and the backbone is no released one;
            if the config is for another task.
        ConfigError: If the config does not exist.
    """
    if config is not None:
        return _reference_of_config(config, task)
    arch, kernel_count = released_backbone(state_dict)
    classes = class_count(state_dict, task) or RELEASED_CLASS_COUNTS[task]
    model = _released_model(task, arch, kernel_count, classes)
    description = f'ConvNeXt-dcls {arch}, {kernel_count} elements in 17x17'
    return _build_reference(description, model, SCOPE_OF_TASK[task])


def released_backbone(state_dict: Mapping[str, Tensor]) -> tuple[str, int]:
    """Return ``arch`` and ``kernel_count`` of the released backbone of these shapes.

    Plain 7x7 kernels are accepted: such a backbone has the ``kernel_count`` that was
    released for its size.

    Raises:
        CheckpointError: If there is none.
    """
    depths, channels, kernel_count = [0] * 4, [0] * 4, None
    for name, tensor in state_dict.items():
        match = _DEPTHWISE_WEIGHT.match(name)
        if match and int(match[1]) < 4 and tensor.ndim > 0:
            stage = int(match[1])
            depths[stage] = max(depths[stage], int(match[2]) + 1)
            channels[stage] = tensor.shape[0]
            if tensor.ndim == 3:
                kernel_count = tensor.shape[-1]
    for arch, released in RELEASED_KERNEL_COUNTS.items():
        settings = ConvNeXt.arch_settings[arch]
        if settings['depths'] == depths and settings['channels'] == channels:
            if kernel_count in (None, released):
                return arch, released
            raise CheckpointError(
                f"The checkpoint's backbone is ConvNeXt-dcls {arch} with "
                f'{kernel_count} elements a kernel, and the released one has '
                f'{released}; name the config that it belongs to with `config`.'
            )
    raise CheckpointError(
        f"The checkpoint's backbone has depths {depths} and channels {channels}, which "
        f'is none of {", ".join(RELEASED_KERNEL_COUNTS)}; name the config that it '
        'belongs to with `config`.'
    )


def build_on_meta(model: ConfigDict, scope: str) -> nn.Module:
    """Build a config's model without memory for its values."""
    with (
        DefaultScope.overwrite_default_scope(scope),
        torch.device('meta'),
        _NumbersOnCPU(),
    ):
        return MODELS.build(model)


def dataset_meta(meta: Mapping, task: str, classes: int | None) -> dict:
    """Return what OpenMMLab 1.x and later want to know of classes, for inference.

    Args:
        meta: A checkpoint's own; ``dataset_meta`` or the older ``CLASSES`` are kept.
        task: ``'cls'``, ``'seg'`` or ``'det'``.
        classes: The number of classes. The names of ImageNet-1k, ADE20K and COCO are
            given to a model with their number of classes.

    Returns:
        ``dataset_meta`` with ``classes`` and, in segmentation and detection,
        ``palette``; nothing where they are not known.
    """
    if meta.get('dataset_meta'):
        return {'dataset_meta': meta['dataset_meta']}
    known = _known_dataset_meta(task)
    if meta.get('CLASSES'):
        named = {'classes': meta['CLASSES'], 'palette': meta.get('PALETTE')}
        return {'dataset_meta': {key: value for key, value in named.items() if value}}
    return {'dataset_meta': known} if len(known['classes']) == classes else {}


def class_count(state_dict: Mapping[str, Tensor], task: str) -> int | None:
    """Return the number of classes of tensors with our names, None without a head."""
    tensor = state_dict.get(_CLASSES_OF[task])
    return tensor.shape[0] if tensor is not None and tensor.ndim else None


def _known_dataset_meta(task: str) -> dict:
    if task == 'cls':
        from mmpretrain.datasets import ImageNet as Dataset
    elif task == 'seg':
        from mmseg.datasets import ADE20KDataset as Dataset
    else:
        from mmdet.datasets import CocoDataset as Dataset
    return {
        key: Dataset.METAINFO[key]
        for key in ('classes', 'palette')
        if key in Dataset.METAINFO
    }


def _released_model(
    task: str, arch: str, kernel_count: int, classes: int
) -> ConfigDict:
    channels = ConvNeXt.arch_settings[arch]['channels']
    backbone = dict(
        type='mmdcls.ConvNeXtDCLS',
        arch=arch,
        dilated_kernel_size=17,
        kernel_count=kernel_count,
    )
    if task == 'cls':
        head = dict(type='LinearClsHead', num_classes=classes, in_channels=channels[-1])
        return ConfigDict(type='ImageClassifier', backbone=backbone, head=head)
    model = get_config(_UPSTREAM_CONFIGS[task]).model
    model.backbone.update(backbone, init_cfg=None)
    if task == 'seg':
        model.decode_head.update(in_channels=channels, num_classes=classes)
        model.auxiliary_head.update(in_channels=channels[2], num_classes=classes)
    else:
        model.neck.in_channels = channels
        for head in (*model.roi_head.bbox_head, model.roi_head.mask_head):
            head.num_classes = classes
    return model


def _reference_of_config(config: str | os.PathLike, task: str) -> Reference:
    cfg = read_config(str(config))
    if not cfg.get('model'):
        raise CheckpointError(f"The config '{config}' has no model.")
    scope = cfg.get('default_scope')
    if scope != SCOPE_OF_TASK[task]:
        raise CheckpointError(
            f"The config '{config}' has default_scope='{scope}', and the checkpoint "
            f"needs one of '{SCOPE_OF_TASK[task]}'."
        )
    with building_from(cfg):
        return _build_reference(Path(config).name, cfg.model, scope)


def _build_reference(description: str, model: ConfigDict, scope: str) -> Reference:
    built = build_on_meta(model, scope)
    return Reference(
        description,
        built.state_dict(),
        {
            f'{name}.positions': layer.dilated_kernel_size
            for name, layer in named_dcls_layers(built)
        },
        model,
        scope,
    )


class _NumbersOnCPU(TorchFunctionMode):
    """Keep ``linspace`` off the meta device: backbones read drop path rates from it."""

    def __torch_function__(
        self, func, types: Iterable[type], args=(), kwargs: dict | None = None
    ):
        kwargs = kwargs or {}
        if func is torch.linspace:
            kwargs = {'device': 'cpu', **kwargs}
        return func(*args, **kwargs)
