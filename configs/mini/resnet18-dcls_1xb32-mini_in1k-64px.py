# A slim ResNet-18-DCLS that learns the mini ImageNet in about two minutes on two CPU
# cores.
_base_ = './convnext-dcls-atto_1xb32-mini_in1k-64px.py'

model = dict(
    _delete_=True,
    type='ImageClassifier',
    backbone=dict(
        type='mmdcls.ResNetDCLS',
        depth=18,
        stem_channels=16,
        base_channels=16,
        dilated_kernel_size=7,
        kernel_count=5,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
)
