# Paper Table 3, ConvNeXt-dcls-S: mmseg's ConvNeXt-S recipe with DCLS in the backbone.
_base_ = './upernet_convnext-small_8xb2-amp-160k_ade20k-512x512.py'

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
