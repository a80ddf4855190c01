from .imagenet_variants import (
    ImageNetA,
    ImageNetC,
    ImageNetCBar,
    ImageNetR,
    ImageNetSketch,
    ImageNetVal,
)
from .transforms import Corrupt, LoadImageOrMark

__all__ = [
    'Corrupt',
    'ImageNetA',
    'ImageNetC',
    'ImageNetCBar',
    'ImageNetR',
    'ImageNetSketch',
    'ImageNetVal',
    'LoadImageOrMark',
]
