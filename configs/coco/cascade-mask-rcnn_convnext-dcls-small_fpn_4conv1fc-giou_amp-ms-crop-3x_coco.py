# Paper Table 4, ConvNeXt-dcls-S: mmdet's ConvNeXt-S recipe with DCLS in the backbone.
_base_ = './cascade-mask-rcnn_convnext-small_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'

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
