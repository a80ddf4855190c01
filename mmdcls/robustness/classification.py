"""The benchmarks of classifiers: which images, transforms and metric a cell has."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmdcls.datasets import imagenet_variants as variants
from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from mmdcls.datasets.imagenet_variants import class_folders, read_wordnet_ids
from mmdcls.datasets.loading import DEFAULT_LOADING, find_loading, transform_name
from mmdcls.errors import ConfigError

from .cells import Cell

DATASETS = {
    'clean': variants.ImageNetVal,
    'c': variants.ImageNetC,
    'c_extra': variants.ImageNetC,
    'cbar': variants.ImageNetCBar,
    'a': variants.ImageNetA,
    'r': variants.ImageNetR,
    'sketch': variants.ImageNetSketch,
}
FOLDERS = {
    'clean': 'imagenet/val',
    'c': 'imagenet-c',
    'cbar': 'imagenet-c-bar',
    'a': 'imagenet-a',
    'r': 'imagenet-r',
    'sketch': 'imagenet-sketch',
}
"""Where the data sets are below the data root, unless the config's ``robustness`` tells
otherwise."""

BENCHMARKS = tuple(FOLDERS)
CORRUPTIONS_OF = {
    'c': CORRUPTIONS,
    'c_extra': EXTRA_CORRUPTIONS,
    'cbar': variants.CBAR_CORRUPTIONS,
}
JPEG_QUALITY = 85
"""Of the files of ImageNet-C."""

_RESIZE = ('Resize', 'ResizeEdge')
_CROP = ('CenterCrop', 'EfficientNetCenterCrop')
_INTERPOLATIONS = {
    'Resize': 'bilinear',
    'ResizeEdge': 'bilinear',
    'EfficientNetCenterCrop': 'bicubic',
}
"""Of the transforms that interpolate, unless their config tells otherwise."""


class Classification:
    """Data sets and metrics of a classifier's cells.

    Clean images go through the config's own test pipeline. ImageNet-C and C-bar are
    cropped, A, R and Sketch resized to 256/224 of the crop and cropped; A and R choose
    among their 200 classes. What the config's pipeline does besides (loading, packing,
    the interpolation of its resizing) is kept.

    Args:
        cfg: Any mmpretrain config. Its optional ``robustness`` may hold ``data_root``,
            ``folders`` (benchmark to folder) and ``image_count`` (None to accept any
            number of images).
        output_count: Number of the model's outputs.
        data_root: Overrides the config's.
        on_the_fly: Corrupt the clean images while loading them instead of reading
            ImageNet-C; ``'c'`` and ``'c_extra'`` only.
        input_size: Side of the crop, in pixels; None stands for the config's. Another
            one than the config's is also that of the clean images.

    Raises:
        ConfigError: If the config has no test pipeline to take the crop from, or if
            the outputs cannot be matched to WordNet ids.
    """

    def __init__(
        self,
        cfg: Config,
        output_count: int,
        data_root: str | None = None,
        on_the_fly: bool = False,
        input_size: int | None = None,
        channels: int = 3,
    ) -> None:
        settings = cfg.get('robustness') or {}
        self.root = Path(data_root or settings.get('data_root') or 'data')
        self.folders = {**FOLDERS, **settings.get('folders', {})}
        self.image_count = settings.get('image_count', 'published')
        self.on_the_fly = on_the_fly
        self.transforms = read_test_pipeline(cfg)
        self.input_size = input_size or read_input_size(self.transforms)
        self._resizes_clean = input_size is not None
        place = find_loading(self.transforms)
        loading = DEFAULT_LOADING if place is None else self.transforms.pop(place)
        self._loading = dict(
            type='mmdcls.LoadImageOrMark',
            loading=copy.deepcopy(dict(loading)),
            channels=channels,
        )
        self.wordnet_ids = self._match_outputs(output_count)

    def _match_outputs(self, output_count: int) -> tuple[str, ...] | None:
        """Return the class folders of the outputs; None stands for ImageNet-1k's."""
        imagenet = read_wordnet_ids()
        folder = self.root / self.folders['clean']
        found = tuple(class_folders(folder)) if folder.is_dir() else ()
        if output_count == len(imagenet):
            own = len(found) == output_count and set(found) != set(imagenet)
            return found if own else None
        if not found:
            raise ConfigError(
                f'The model has {output_count} outputs instead of 1000, and there is '
                f"no '{folder}' whose class folders would name them."
            )
        if len(found) != output_count:
            raise ConfigError(
                f'The model has {output_count} outputs, which are neither the 1000 '
                f"classes of ImageNet nor the {len(found)} class folders of '{folder}'."
            )
        return found

    @property
    def outputs(self) -> str | None:
        """Return the folder whose class folders the outputs are; None for ImageNet."""
        if self.wordnet_ids is None:
            return None
        return str(self.root / self.folders['clean'])

    def folder(self, cell: Cell) -> Path:
        """Return the folder that holds a cell's class folders."""
        if self.on_the_fly and cell.benchmark in ('c', 'c_extra'):
            return self.root / self.folders['clean']
        root = self.root / self.folders[cell.benchmark.removesuffix('_extra')]
        if not cell.corruption:
            return root
        dataset: Any = DATASETS[cell.benchmark]
        return dataset.cell_folder(root, cell.corruption, cell.severity)

    def is_missing(self, cell: Cell) -> bool:
        """Tell whether a cell's folder is not there."""
        return not self.folder(cell).is_dir()

    def dataset(self, cell: Cell) -> dict:
        """Give a cell's data set as a config."""
        config = dict(
            wordnet_ids=self.wordnet_ids,
            image_count=self.image_count,
            pipeline=self._pipeline(cell),
        )
        if self.on_the_fly and cell.benchmark in ('c', 'c_extra'):
            return dict(
                type='mmdcls.ImageNetVal', data_root=str(self.folder(cell)), **config
            )
        root = self.root / self.folders[cell.benchmark.removesuffix('_extra')]
        config['type'] = f'mmdcls.{DATASETS[cell.benchmark].__name__}'
        config['data_root'] = str(root)
        if cell.corruption:
            config['corruptions'] = [cell.corruption]
            config['severities'] = [cell.severity]
        return config

    def metrics(self) -> list[dict]:
        """Give a cell's metrics as configs; they read the mask from the data set."""
        return [dict(type='mmdcls.MaskedAccuracy', topk=(1, 5))]

    def _pipeline(self, cell: Cell) -> list[dict]:
        own_sizing = cell.benchmark == 'clean' and not self._resizes_clean
        return [
            copy.deepcopy(self._loading),
            *([] if own_sizing else self._sizing(cell)),
            *self._own_transforms(own_sizing),
        ]

    def _sizing(self, cell: Cell) -> list[dict]:
        """Return the published way from an image's size to the model's."""
        corrupted = cell.benchmark in ('c', 'c_extra', 'cbar')
        size = self.input_size
        resize: dict = dict(
            type='mmpretrain.ResizeEdge', edge='short', backend='pillow'
        )
        crop = dict(type='CenterCrop', crop_size=size)
        scale = round(size * 256 / 224)
        if corrupted and self.on_the_fly and cell.benchmark != 'cbar':
            corrupt = dict(
                type='mmdcls.Corrupt',
                corruption=cell.corruption,
                severity=cell.severity,
                jpeg_quality=JPEG_QUALITY,
            )
            resize.update(scale=scale, interpolation='bilinear')
            return [resize, crop, corrupt]
        resize['interpolation'] = self._interpolation()
        if not corrupted:
            return [dict(resize, scale=scale), crop]
        # The files have 224 pixels a side; other crops see the whole image too.
        return [crop] if size == 224 else [dict(resize, scale=size), crop]

    def _interpolation(self) -> str:
        for transform in self.transforms:
            if default := _INTERPOLATIONS.get(transform_name(transform)):
                return transform.get('interpolation', default)
        return 'bilinear'

    def _own_transforms(self, sizing: bool) -> list[dict]:
        """Return the config's transforms after loading, with those that size or not."""
        left_out = () if sizing else _RESIZE + _CROP
        transforms = []
        for transform in self.transforms:
            if transform_name(transform) in left_out:
                continue
            transform = copy.deepcopy(dict(transform))
            if transform_name(transform) == 'PackInputs':
                transform['meta_keys'] = ('img_path', 'unreadable')
            transforms.append(transform)
        return transforms


def read_test_pipeline(cfg: Config) -> list[ConfigDict]:
    """Give the transforms of a config's test set, or of its validation set.

    Raises:
        ConfigError: If there are none.
    """
    for split in ('test', 'val'):
        loader = cfg.get(f'{split}_dataloader') or {}
        pipeline = (loader.get('dataset') or {}).get('pipeline')
        if pipeline:
            return list(pipeline)
    raise ConfigError('The config has no test_dataloader.dataset.pipeline.')


def read_input_size(transforms: Sequence[dict]) -> int:
    """Give the side of the images that a test pipeline ends up with, in pixels.

    Raises:
        ConfigError: If no transform tells, or if it is not square.
    """
    for names, key in ((_CROP, 'crop_size'), (_RESIZE, 'scale')):
        for transform in reversed(transforms):
            if transform_name(transform) in names:
                size = transform[key]
                sides = {size} if isinstance(size, int) else set(size)
                if len(sides) == 1:
                    return int(sides.pop())
    raise ConfigError(
        "The config's test pipeline has no square CenterCrop or Resize to tell the "
        "size of the model's input; give `input_size`."
    )
