"""Mini data sets in the real formats of ADE20K, COCO and ImageNet.

Scenes are composed from the real photographs that scikit-image and scikit-learn ship;
the same seed gives the same files, bit for bit, with the same package versions.
"""

from .make import MINI_DATASETS, MiniDataset, make_mini

__all__ = ['MINI_DATASETS', 'MiniDataset', 'make_mini']
