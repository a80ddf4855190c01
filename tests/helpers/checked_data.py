"""Configs of the mini data, and how a check of one is called in tests."""

import json

from mmengine.registry import init_default_scope

from mmdcls.datasets.check import check_dataset, open_source
from mmdcls.testing.imagenet import CLASSES

KEY = 'train_dataloader.dataset'


def ade20k(mini):
    init_default_scope('mmseg')
    return dict(
        type='ADE20KDataset',
        data_root=str(mini / 'ADEChallengeData2016'),
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'
        ),
        pipeline=[dict(type='LoadImageFromFile')],
    )


def coco(mini):
    init_default_scope('mmdet')
    return dict(
        type='CocoDataset',
        data_root=str(mini / 'coco'),
        data_prefix=dict(img='train2017/'),
        ann_file='annotations/instances_train2017.json',
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
    )


def imagenet(mini, **kwargs):
    init_default_scope('mmpretrain')
    return dict(
        type='ImageNet',
        data_root=str(mini / 'imagenet'),
        split='train',
        metainfo=dict(classes=tuple(CLASSES)),
        **kwargs,
    )


def first(mini, pattern):
    return min(mini.glob(pattern))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def check(config, metrics=(), **kwargs):
    return check_dataset(open_source(KEY, config, metrics), workers=2, **kwargs)


def messages(config, **kwargs):
    return list(map(str, check(config, **kwargs).problems))


def edit_annotations(mini, edit):
    path = mini / 'coco/annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path
