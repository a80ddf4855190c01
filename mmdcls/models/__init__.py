from .baselines import ConvNeXtBaseline, ResNetBaseline
from .convert import convert_to_dcls, convert_to_plain
from .convnext_dcls import ConvNeXtDCLS
from .resnet_dcls import ResNetDCLS

__all__ = [
    'ConvNeXtBaseline',
    'ConvNeXtDCLS',
    'ResNetBaseline',
    'ResNetDCLS',
    'convert_to_dcls',
    'convert_to_plain',
]
