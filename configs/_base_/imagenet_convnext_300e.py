# Liu et al. (2022), Table 5, as mmpretrain trains ConvNeXt-T, with the cosine's end of
# the official code (1e-6) as a ratio, so that every param group keeps its factor.
_base_ = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'

custom_imports = dict(
    imports=['mmdcls.models', 'mmdcls.engine'], allow_failed_imports=False
)
default_hooks = dict(
    checkpoint=dict(type='mmdcls.WholeCheckpointHook'),
    exact_resume=dict(type='mmdcls.ExactResumeHook'),
)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=20,
        convert_to_iter_based=True,
    ),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-6 / 4e-3, by_epoch=True, begin=20),
]
