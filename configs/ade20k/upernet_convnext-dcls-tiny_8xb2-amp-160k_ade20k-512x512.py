# Paper Table 3, ConvNeXt-dcls-T: mmseg's ConvNeXt-T recipe with DCLS in the backbone.
_base_ = './upernet_convnext-tiny_8xb2-amp-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        type='mmdcls.ConvNeXtDCLS',
        dilated_kernel_size=17,
        kernel_count=34,
        # ImageNet-1k weights are given on the command line: --pretrained FILE
        init_cfg=None,
    )
)
optim_wrapper = dict(constructor='mmdcls.DCLSOptimWrapperConstructor')
custom_hooks = [dict(type='mmdcls.ClampPositionsHook')]
