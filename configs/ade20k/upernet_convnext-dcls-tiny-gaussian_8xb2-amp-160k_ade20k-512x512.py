# ConvNeXt-dcls-T with Gaussian in place of bilinear interpolation.
_base_ = './upernet_convnext-dcls-tiny_8xb2-amp-160k_ade20k-512x512.py'

model = dict(backbone=dict(interpolation='gaussian'))
