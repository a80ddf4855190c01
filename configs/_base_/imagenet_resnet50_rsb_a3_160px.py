# Procedure A3 of Wightman et al. (2021): mmpretrain's config trains on crops of 224
# pixels and sums the binary cross-entropy over the classes; A3 trains on 160 and takes
# the mean, which decides when Lamb's clipping sets in and what a repulsive loss weighs.
_base_ = 'mmpretrain::resnet/resnet50_8xb256-rsb-a3-100e_in1k.py'

custom_imports = dict(
    imports=['mmdcls.models', 'mmdcls.engine'], allow_failed_imports=False
)
default_hooks = dict(
    checkpoint=dict(type='mmdcls.WholeCheckpointHook'),
    exact_resume=dict(type='mmdcls.ExactResumeHook'),
)

model = dict(head=dict(loss=dict(loss_weight=1 / 1000)))

train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 160
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# The end as a ratio, so that every param group keeps its factor.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        by_epoch=True,
        end=5,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 8e-3, by_epoch=True, begin=5),
]
