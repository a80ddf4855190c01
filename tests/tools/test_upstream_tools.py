"""Configs of other people, from outside the repository, in upstream's own tools."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmdcls.checkpoints import read_checkpoint
from mmdcls.testing import make_mini

DCLS = """
custom_imports = dict(imports=['mmdcls.models', 'mmdcls.engine'])
custom_hooks = [dict(type='mmdcls.ClampPositionsHook')]
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='mmdcls.DCLSOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
)
backbone = dict(
    _delete_=True,
    type='mmdcls.ConvNeXtDCLS',
    arch='atto',
    out_indices={out_indices},
    gap_before_final_norm={gap},
)
"""
SEGMENTATION = """
crop_size = (64, 64)
model = dict(
    backbone=backbone,
    data_preprocessor=dict(size=crop_size),
    decode_head=dict(
        in_channels=[40, 80, 160, 320], channels=32, norm_cfg=dict(type='BN')
    ),
    auxiliary_head=dict(in_channels=160, channels=32, norm_cfg=dict(type='BN')),
    test_cfg=dict(crop_size=crop_size, stride=(43, 43)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomCrop', crop_size=crop_size),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(80, 64), keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline)
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=1))
"""
DETECTION = """
model = dict(backbone=backbone, neck=dict(in_channels=[40, 80, 160, 320]))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(96, 64), keep_ratio=True),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
"""
CLASSIFICATION = """
model = dict(
    backbone=backbone, head=dict(num_classes=10, in_channels=320), train_cfg=None
)
data_preprocessor = dict(num_classes=10)
dataset = dict(metainfo=dict(classes={classes}))
train_dataloader = dict(
    batch_size=10, num_workers=0, persistent_workers=False, dataset=dataset
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dataset)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
param_scheduler = []
"""
CASES = {
    'mmseg': (
        'convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py',
        DCLS.format(out_indices=(0, 1, 2, 3), gap=False) + SEGMENTATION,
        ('data/ade/ADEChallengeData2016', 'ADEChallengeData2016'),
        ('train_cfg.max_iters=3', 'iter_2.pth', 'iter_3.pth'),
    ),
    'mmdet': (
        'convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
        DCLS.format(out_indices=(0, 1, 2, 3), gap=False) + DETECTION,
        ('data/coco', 'coco'),
        ('train_cfg.max_epochs=2', 'epoch_1.pth', 'epoch_2.pth'),
    ),
    'mmpretrain': (
        'convnext/convnext-tiny_32xb128_in1k.py',
        DCLS.format(out_indices=(3,), gap=True)
        + CLASSIFICATION.replace('{classes}', str(tuple('abcdefghij'))),
        ('data/imagenet', 'imagenet'),
        ('train_cfg.max_epochs=2', 'epoch_1.pth', 'epoch_2.pth'),
    ),
}


@pytest.fixture(scope='module')
def mini(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mini')
    make_mini(folder, ['ade20k', 'coco'], train=4, val=2)
    make_mini(folder, ['imagenet'], train=20, val=10)
    return folder


def run(folder, package, tool, *arguments):
    """Run a tool that the package ships, in a folder of somebody else."""
    root = Path(importlib.import_module(package).__file__).parent / '.mim/tools'
    done = subprocess.run(
        [sys.executable, root / f'{tool}.py', *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('package', list(CASES))
def test_trains_resumes_and_tests(package, mini, tmp_path):
    base, text, (link, data), (longer, first, second) = CASES[package]
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to(mini / data)
    root = Path(importlib.import_module(package).__file__).parent / '.mim/configs'
    config = tmp_path / 'mine.py'
    config.write_text(f'_base_ = {str(root / base)!r}\n{text}')
    assert 'mmdcls.models' in Config.fromfile(config).custom_imports.imports

    work_dir = ('--work-dir', tmp_path / 'run')
    run(tmp_path, package, 'train', config, *work_dir)
    before = read_checkpoint(tmp_path / 'run' / first)
    log = run(
        *(tmp_path, package, 'train', config, *work_dir),
        *('--resume', '--cfg-options', longer),
    )
    done = before['meta']['iter']
    assert done >= 2 and f', iter: {done}\n' in log
    after = read_checkpoint(tmp_path / 'run' / second)
    assert after['meta']['iter'] > done
    names = [name for name in after['state_dict'] if name.endswith('.positions')]
    moved = [
        name
        for name in names
        if not after['state_dict'][name].equal(before['state_dict'][name])
    ]
    assert moved
    for name in names:
        assert after['state_dict'][name].abs().max() <= 8
    output = run(
        tmp_path, package, 'test', config, tmp_path / 'run' / second, *work_dir
    )
    assert f'Load checkpoint from {tmp_path / "run" / second}' in output
