from .convert import convert_to_dcls
from .convnext_dcls import ConvNeXtDCLS
from .resnet_dcls import ResNetDCLS

__all__ = ['ConvNeXtDCLS', 'ResNetDCLS', 'convert_to_dcls']
