# ConvNeXt-dcls-T with Gaussian in place of bilinear interpolation.
_base_ = (
    './cascade-mask-rcnn_convnext-dcls-tiny_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'
)

model = dict(backbone=dict(interpolation='gaussian'))
