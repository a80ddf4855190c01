# Paper Table 4, CNeXt-dcls-S: mmdet's ConvNeXt-S recipe with DCLS in the backbone.
_base_ = 'mmdet::convnext/cascade-mask-rcnn_convnext-s-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'  # noqa: E501

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
