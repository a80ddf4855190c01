# Table 5's baseline: mmpretrain's ConvNeXt, for its published weights.
_base_ = [
    'mmpretrain::convnext/convnext-base_32xb128_in1k.py',
    './_base_/folders.py',
]
