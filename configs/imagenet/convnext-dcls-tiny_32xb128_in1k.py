# Paper Table 2, ConvNeXt-T-dcls: mmpretrain's ConvNeXt-T recipe (Liu et al., Table 5)
# with DCLS in the backbone and all learning techniques of paper section 3.
_base_ = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'

custom_imports = dict(
    imports=['mmdcls.models', 'mmdcls.engine'], allow_failed_imports=False
)

model = dict(
    backbone=dict(
        type='mmdcls.ConvNeXtDCLS', dilated_kernel_size=17, kernel_count=34
    )
)

optim_wrapper = dict(constructor='mmdcls.DCLSOptimWrapperConstructor')
# Ratios, so that positions stay at five times the learning rate of the rest.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        end=20,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR', eta_min_ratio=1e-6 / 4e-3, by_epoch=True, begin=20
    ),
]
custom_hooks = [
    dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL'),
    dict(type='mmdcls.ClampPositionsHook'),
    dict(type='mmdcls.RepulsiveLossHook', begin=20),
    dict(type='mmdcls.PositionStatisticsHook'),
]
