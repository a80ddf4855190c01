from .baselines import ConvNeXtBaseline, ResNetBaseline
from .convnext_dcls import ConvNeXtDCLS
from .resnet_dcls import ResNetDCLS

__all__ = [
    'ConvNeXtBaseline',
    'ConvNeXtDCLS',
    'ResNetBaseline',
    'ResNetDCLS',
]
