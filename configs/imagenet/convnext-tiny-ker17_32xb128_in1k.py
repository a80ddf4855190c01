# Paper Table 2, ConvNeXt-T-ker17: dense depthwise convolutions of 17x17.
_base_ = '../_base_/imagenet_convnext_300e.py'

model = dict(backbone=dict(type='mmdcls.ConvNeXtBaseline', kernel_size=17))
