# A ConvNeXt-DCLS-atto that learns the mini ImageNet in about two minutes on two CPU
# cores.
_base_ = '../imagenet/convnext-dcls-tiny_32xb128_in1k.py'

max_epochs = 14
classes = (
    'tabby',
    'sorrel',
    'castle',
    'digital clock',
    'missile',
    'motor scooter',
    'odometer',
    'space shuttle',
    'espresso',
    'daisy',
)
randomness = dict(seed=0)
data_preprocessor = dict(num_classes=len(classes))

model = dict(
    backbone=dict(
        arch='atto',
        drop_path_rate=0.0,
        # 1e-6, the recipe's, leaves the blocks idle in so short a training.
        layer_scale_init_value=1.0,
    ),
    head=dict(num_classes=len(classes), in_channels=320),
    train_cfg=None,
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge',
        scale=73,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=64),
    dict(type='PackInputs'),
]
dataset = dict(data_root='data/mini/imagenet', metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline, **dataset),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=test_pipeline, **dataset),
)
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-3,
        by_epoch=True,
        begin=1,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    # Of few iterations, an average over the last 50 of them.
    dict(type='EMAHook', momentum=0.02, priority='ABOVE_NORMAL'),
    dict(type='mmdcls.ClampPositionsHook'),
    dict(type='mmdcls.RepulsiveLossHook', begin=1),
    dict(type='mmdcls.PositionStatisticsHook'),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
default_hooks = dict(
    logger=dict(interval=5), checkpoint=dict(interval=max_epochs, max_keep_ckpts=1)
)
