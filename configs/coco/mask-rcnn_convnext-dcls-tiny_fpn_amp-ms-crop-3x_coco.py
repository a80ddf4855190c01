# Mask R-CNN 3x, ConvNeXt-dcls-T: mmdet's ConvNeXt-T recipe with DCLS in the backbone.
_base_ = './mask-rcnn_convnext-tiny_fpn_amp-ms-crop-3x_coco.py'

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
