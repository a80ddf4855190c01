# Paper Table 2, ConvNeXt-dcls-S.
_base_ = './convnext-dcls-tiny_32xb128_in1k.py'

model = dict(backbone=dict(arch='small', drop_path_rate=0.4, kernel_count=40))
