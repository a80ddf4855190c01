"""Configs of ours that the models of ``official_models`` of size 'mini' belong to."""

from pathlib import Path

from mmengine.config import Config

from helpers.official_models import SIZES, SMALL

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    'seg': 'ade20k/upernet_convnext-dcls-tiny_8xb2-amp-160k_ade20k-512x512.py',
    'det': 'coco/cascade-mask-rcnn_convnext-dcls-tiny_fpn_4conv1fc-giou_amp-ms-crop-3x_'
    'coco.py',
}
SIZE, DIMS = SIZES['mini'], list(SIZES['mini'].dims)
BACKBONE = dict(
    type='mmdcls.ConvNeXtDCLS',
    arch=dict(depths=list(SIZE.depths), channels=DIMS),
    kernel_count=SIZE.count,
    drop_path_rate=0.0,
)


def mini_config(task):
    """One of our configs, or a classification config, with sizes made small."""
    small = SMALL[task]
    if task == 'cls':
        head = dict(
            type='LinearClsHead', num_classes=small['classes'], in_channels=DIMS[-1]
        )
        model = dict(type='ImageClassifier', backbone=BACKBONE, head=head)
        return Config(dict(default_scope='mmpretrain', model=model))
    cfg = Config.fromfile(ROOT / 'configs' / CONFIGS[task])
    model = cfg.model
    model.backbone.update(BACKBONE)
    if task == 'seg':
        model.decode_head.update(
            in_channels=DIMS, channels=small['channels'], num_classes=small['classes']
        )
        model.auxiliary_head.update(
            in_channels=DIMS[2],
            channels=small['auxiliary_channels'],
            num_classes=small['classes'],
        )
        return cfg
    channels = dict(
        in_channels=small['channels'],
        conv_out_channels=small['channels'],
        num_classes=small['classes'],
    )
    model.neck.update(in_channels=DIMS, out_channels=small['channels'])
    model.rpn_head.update(
        in_channels=small['channels'], feat_channels=small['channels']
    )
    for head in model.roi_head.bbox_head:
        head.update(
            channels,
            num_shared_convs=small['convs'],
            fc_out_channels=small['fc_channels'],
        )
    model.roi_head.mask_head.update(channels, num_convs=small['convs'])
    return cfg


def write_mini_config(task, folder):
    """Write :func:`mini_config` to a file."""
    path = folder / f'mini_{task}.py'
    mini_config(task).dump(path)
    return path
