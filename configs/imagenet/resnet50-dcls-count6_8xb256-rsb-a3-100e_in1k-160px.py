# Paper Table 1, ResNet50-dcls 7/6: dilated kernel size 7, kernel count 6.
_base_ = './resnet50-dcls-count5_8xb256-rsb-a3-100e_in1k-160px.py'

model = dict(backbone=dict(kernel_count=6))
