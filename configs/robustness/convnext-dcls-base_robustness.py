# Table 5's ConvNeXt with DCLS.
_base_ = [
    '../imagenet/convnext-dcls-base_32xb128_in1k.py',
    './_base_/folders.py',
]
