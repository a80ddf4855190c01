# Paper Table 2, ConvNeXt-dcls-B.
_base_ = './convnext-dcls-tiny_32xb128_in1k.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.5, kernel_count=40),
    head=dict(in_channels=1024),
)
