"""Read images and label maps as a pipeline does, with its own transforms."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from mmengine.registry import TRANSFORMS

from mmdcls.datasets.loading import transform_name
from mmdcls.errors import ArgumentError


class PipelineLoader:
    """The loading transforms of a pipeline, with their options.

    Without any, images and label maps are read as the transforms' defaults do.

    Args:
        pipeline: As the config describes it, in the current default scope.

    Raises:
        ArgumentError: If a loading transform is unknown or refuses its options.
    """

    def __init__(self, pipeline: Sequence[Mapping]) -> None:
        loaders = loading_steps(pipeline)
        annotations = [step for step in loaders if 'Annotation' in transform_name(step)]
        images = [step for step in loaders if 'Image' in transform_name(step)]
        self.knows_pipeline = bool(images) or not pipeline
        self._images = _build(images or [dict(type='LoadImageFromFile')])
        self._annotations = _build(annotations or [dict(type='LoadAnnotations')])

    def load_image(self, item: Mapping) -> np.ndarray:
        """Give the image as the first transforms of the pipeline leave it.

        Raises:
            Exception: Whatever the transforms raise.
        """
        return _apply(self._images, item)['img']

    def load_label_map(self, item: Mapping) -> np.ndarray:
        """Give the label map, reduced and mapped as the pipeline does.

        Raises:
            Exception: Whatever the transforms raise.
        """
        return _apply(self._annotations, item)['gt_seg_map']


def iter_steps(pipeline: Sequence[Mapping]) -> Iterator[Mapping]:
    """Yield the transforms of a pipeline, those within others too."""
    for step in pipeline:
        if isinstance(step, Mapping):
            yield step
            yield from iter_steps(step.get('transforms') or [])
        elif isinstance(step, Sequence) and not isinstance(step, str):
            yield from iter_steps(step)


def loading_steps(pipeline: Sequence[Mapping]) -> list[Mapping]:
    """Give the transforms of a pipeline that read files."""
    return [
        step for step in iter_steps(pipeline) if transform_name(step).startswith('Load')
    ]


def _build(steps: list[Mapping]) -> list:
    try:
        return [TRANSFORMS.build(copy.deepcopy(dict(step))) for step in steps]
    except (AssertionError, TypeError, KeyError, ValueError) as error:
        names = ', '.join(map(transform_name, steps))
        raise ArgumentError(
            f'{names} of the pipeline cannot be built: {error}'
        ) from error


def _apply(transforms: list, item: Mapping) -> dict:
    results = copy.deepcopy(dict(item))
    for transform in transforms:
        results = transform(results)
        if results is None:
            raise ArgumentError('the pipeline leaves it out (ignore_empty)')
    return results
