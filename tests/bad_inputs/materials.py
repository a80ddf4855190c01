"""The sound files that the bad inputs are made from: small data, configs, models."""

import json
from pathlib import Path

import numpy as np
import torch
from helpers.robustness_runs import CONFIG, write_model
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from mmdcls.datasets.imagenet_variants import read_wordnet_ids

WORDNET_IDS = read_wordnet_ids()[:10]
TRAINING = """
_base_ = './small.py'
train_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=37, edge='short'),
    dict(type='CenterCrop', crop_size=32), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=5, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root='{data}/imagenet/train',
                 pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(
    _delete_=True, type='CustomDataset', data_root='{data}/imagenet/val',
    pipeline=train_pipeline))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
"""
SEGMENTATION = """
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32)),
    backbone=dict(
        type='mmdcls.ConvNeXtDCLS', dilated_kernel_size=7, kernel_count=4,
        arch=dict(depths=[1] * 4, channels=[8, 8, 8, 8]), out_indices=(3,),
        gap_before_final_norm=False),
    decode_head=dict(type='FCNHead', in_channels=8, channels=8, num_classes=4,
                     num_convs=1, norm_cfg=dict(type='BN')),
    test_cfg=dict(mode='whole'))
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'),
            dict(type='PackSegInputs')]
dataset = dict(
    type='BaseSegDataset', data_root='{data}/segmentation', pipeline=pipeline,
    metainfo=dict(classes=('a', 'b', 'c', 'd')), img_suffix='.png',
    data_prefix=dict(img_path='images', seg_map_path='labels'))
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler'), dataset=dataset)
test_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler'), dataset=dataset)
test_cfg = dict(type='TestLoop')
test_evaluator = dict(type='IoUMetric')
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
default_hooks = dict(visualization=dict(type='SegVisualizationHook'))
visualizer = dict(type='SegLocalVisualizer')
"""
DCLS = """
_base_ = './cls.py'
model = dict(backbone=dict(
    type='mmdcls.ConvNeXtDCLS', dilated_kernel_size=7, kernel_count=4))
"""
DETECTION = """
_base_ = '{root}/configs/mini/\
cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py'
root = '{data}/detection/'
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    data_root=root, ann_file='annotations.json', data_prefix=dict(img='images/')))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    data_root=root, ann_file='annotations.json', data_prefix=dict(img='images/')))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=root + 'annotations.json')
test_evaluator = val_evaluator
"""
ROOT = Path(__file__).resolve().parents[2]


def write_materials(folder: Path) -> None:
    """Write data, configs and checkpoints that all tools accept."""
    data = folder / 'data'
    _write_images(data)
    write_model(folder, outputs=10)  # config.py and model.pth
    (folder / 'small.py').write_text(CONFIG.format(outputs=10))
    (folder / 'cls.py').write_text(TRAINING.format(data=data))
    (folder / 'seg.py').write_text(SEGMENTATION.format(data=data))
    (folder / 'det.py').write_text(DETECTION.format(data=data, root=ROOT))
    torch.save(torch.load(folder / 'model.pth'), folder / 'cls.pth')
    cfg = Config.fromfile(folder / 'seg.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    torch.save({'state_dict': model.state_dict()}, folder / 'seg.pth')
    (folder / 'dcls.py').write_text(DCLS)
    cfg = Config.fromfile(folder / 'dcls.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    torch.save({'state_dict': model.state_dict()}, folder / 'dcls.pth')
    Image.new('RGB', (48, 48), 'blue').save(folder / 'image.png')
    (folder / 'folder').mkdir()
    (folder / 'text.txt').write_text('no picture\n')


def _write_images(data: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 255, (37, 37, 3), np.uint8)
    image = Image.fromarray(pixels)
    for name in WORDNET_IDS:
        for split in ('train', 'val'):
            place = data / 'imagenet' / split / name
            place.mkdir(parents=True)
            image.save(place / 'a.png')
    for part in ('images', 'labels'):
        (data / 'segmentation' / part).mkdir(parents=True)
    for name in 'abc':
        image.resize((32, 32)).save(data / f'segmentation/images/{name}.png')
        labels = Image.fromarray(pixels[:32, :32, 0] % 4)
        labels.save(data / f'segmentation/labels/{name}.png')
    write_detection(data / 'detection')


def write_detection(folder: Path, change=lambda content: None) -> None:
    """Write a data set in COCO's format, whose content ``change`` changes."""
    (folder / 'images').mkdir(parents=True)
    Image.new('RGB', (64, 48), 'red').save(folder / 'images/a.jpg')
    content = dict(
        images=[dict(id=1, file_name='a.jpg', width=64, height=48)],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(NAMES)],
        annotations=[
            dict(
                id=1,
                image_id=1,
                category_id=1,
                bbox=[4, 4, 20, 20],
                area=400,
                iscrowd=0,
                segmentation=[[4, 4, 24, 4, 24, 24, 4, 24]],
            )
        ],
    )
    change(content)
    (folder / 'annotations.json').write_text(json.dumps(content))


def _category_names() -> tuple[str, ...]:
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO['classes']


NAMES = _category_names()
