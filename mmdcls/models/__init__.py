# ruff: noqa: E402, for what is wrong must be said before mmpretrain is imported.
from mmdcls.environment import check_openmmlab

check_openmmlab('mmpretrain')

from .averaged_model import ExponentialMovingAverage
from .baselines import ConvNeXtBaseline, ResNetBaseline
from .convnext_dcls import ConvNeXtDCLS
from .resnet_dcls import ResNetDCLS

__all__ = [
    'ExponentialMovingAverage',
    'ConvNeXtBaseline',
    'ConvNeXtDCLS',
    'ResNetBaseline',
    'ResNetDCLS',
]
