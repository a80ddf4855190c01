from .convnext_dcls import ConvNeXtDCLS

__all__ = ['ConvNeXtDCLS']
