# Paper Table 1, ResNet50-dcls 7/5: dilated kernel size 7, kernel count 5.
_base_ = '../_base_/imagenet_resnet50_rsb_a3_160px.py'

model = dict(
    backbone=dict(type='mmdcls.ResNetDCLS', dilated_kernel_size=7, kernel_count=5)
)

optim_wrapper = dict(constructor='mmdcls.DCLSOptimWrapperConstructor')
custom_hooks = [
    dict(type='mmdcls.ClampPositionsHook'),
    dict(type='mmdcls.RepulsiveLossHook', begin=21),
    dict(type='mmdcls.PositionStatisticsHook'),
]
