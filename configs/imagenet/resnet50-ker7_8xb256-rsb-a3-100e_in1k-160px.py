# Paper Table 1, ResNet-50, kernel size 7, dilation 1.
_base_ = '../_base_/imagenet_resnet50_rsb_a3_160px.py'

model = dict(backbone=dict(type='mmdcls.ResNetBaseline', kernel_size=7))
