# Paper Table 2, ConvNeXt-dcls-T: DCLS in the backbone and all learning techniques of
# paper section 3.
_base_ = '../_base_/imagenet_convnext_300e.py'

model = dict(
    backbone=dict(type='mmdcls.ConvNeXtDCLS', dilated_kernel_size=17, kernel_count=34)
)

optim_wrapper = dict(constructor='mmdcls.DCLSOptimWrapperConstructor')
custom_hooks = [
    # mmpretrain's: validates, and saves as state_dict, the averaged weights.
    dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL'),
    dict(type='mmdcls.ClampPositionsHook'),
    dict(type='mmdcls.RepulsiveLossHook', begin=21),
    dict(type='mmdcls.PositionStatisticsHook'),
]
