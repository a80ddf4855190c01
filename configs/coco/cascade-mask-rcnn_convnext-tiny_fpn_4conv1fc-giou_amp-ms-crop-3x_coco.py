# Paper Table 4, ConvNeXt-T: mmdet's own recipe, to run beside ConvNeXt-dcls-T.
_base_ = 'mmdet::convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'  # noqa: E501

# mmdcls.engine lets torch >= 2.6 read the run's own checkpoints.
custom_imports = dict(
    imports=['mmpretrain.models', 'mmdcls.engine'], allow_failed_imports=False
)
default_hooks = dict(
    checkpoint=dict(type='mmdcls.WholeCheckpointHook'),
    exact_resume=dict(type='mmdcls.ExactResumeHook'),
)
