# ruff: noqa: E402, for what is wrong must be said before mmpretrain is imported.
from mmdcls.environment import check_openmmlab

check_openmmlab('mmpretrain')

from .baselines import ConvNeXtBaseline, ResNetBaseline
from .convnext_dcls import ConvNeXtDCLS
from .resnet_dcls import ResNetDCLS

__all__ = [
    'ConvNeXtBaseline',
    'ConvNeXtDCLS',
    'ResNetBaseline',
    'ResNetDCLS',
]
