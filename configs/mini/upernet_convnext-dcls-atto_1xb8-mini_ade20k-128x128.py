# A UperNet that learns the mini-ADE20K data in about two minutes on two CPU cores.
_base_ = '../ade20k/upernet_convnext-dcls-tiny_8xb2-amp-160k_ade20k-512x512.py'

max_iters = 180
crop_size = (128, 128)
norm_cfg = dict(type='BN', requires_grad=True)
data_root = 'data/mini/ADEChallengeData2016'
randomness = dict(seed=0)

model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(arch='atto', drop_path_rate=0.0),
    decode_head=dict(
        in_channels=[40, 80, 160, 320],
        channels=48,
        dropout_ratio=0.0,
        norm_cfg=norm_cfg,
    ),
    auxiliary_head=dict(
        in_channels=160, channels=32, dropout_ratio=0.0, norm_cfg=norm_cfg
    ),
    test_cfg=dict(crop_size=crop_size, stride=(85, 85)),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(
        type='RandomResize', scale=(160, 128), ratio_range=(0.8, 1.5), keep_ratio=True
    ),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 128), keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

# From random weights, so no decay over depth, and a higher learning rate; in float32,
# which a CPU can train in.
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='mmdcls.DCLSOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=30),
    dict(
        type='PolyLR', power=1.0, begin=30, end=max_iters, eta_min=0.0, by_epoch=False
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=60, max_keep_ckpts=2)
)
