# Paper Table 2, ConvNeXt-T-dil2: depthwise convolutions of dilation 2.
_base_ = '../_base_/imagenet_convnext_300e.py'

model = dict(backbone=dict(type='mmdcls.ConvNeXtBaseline', dilation=2))
