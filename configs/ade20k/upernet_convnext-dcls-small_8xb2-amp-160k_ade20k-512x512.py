# Paper Table 3, ConvNeXt-S-dcls: mmseg's ConvNeXt-S recipe with DCLS in the backbone.
_base_ = 'mmseg::convnext/convnext-small_upernet_8xb2-amp-160k_ade20k-512x512.py'

custom_imports = dict(
    imports=['mmpretrain.models', 'mmdcls.models', 'mmdcls.engine'],
    allow_failed_imports=False,
)

model = dict(
    backbone=dict(
        type='mmdcls.ConvNeXtDCLS',
        dilated_kernel_size=17,
        kernel_count=40,
        # ImageNet-1k weights are given on the command line: --pretrained FILE
        init_cfg=None,
    )
)

optim_wrapper = dict(constructor='mmdcls.DCLSOptimWrapperConstructor')
custom_hooks = [dict(type='mmdcls.ClampPositionsHook')]
