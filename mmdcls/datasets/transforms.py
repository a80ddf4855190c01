"""Transforms of robustness evaluations: corrupt on the fly, load without guessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform

from mmdcls.errors import ArgumentError
from mmdcls.registry import TRANSFORMS

from .corruptions import check_corruption, corrupt_image, load_corrupt_function
from .loading import DEFAULT_LOADING, UnreadableImageError, load_whole


@TRANSFORMS.register_module()
class Corrupt(BaseTransform):
    """Corrupt ``img`` as ImageNet-C does; deterministic for each image.

    Goes right after ``LoadImageFromFile`` in segmentation and detection, and after the
    crop in classification. Takes colour images of 8 bits only.

    Args:
        corruption: One of the 19 names of ImageNet-C.
        severity: 1 to 5.
        seed: Another seed gives other noise.
        jpeg_quality: The quality of the JPEG compression that follows, 85 for the files
            of ImageNet-C; None leaves it out.
        channel_order: The order of the channels of ``img``: ``'bgr'``, as mmcv loads
            it, or ``'rgb'``.

    Raises:
        ArgumentError: If an argument is none of these, or ``img`` is not uint8.
        ImportError: If the package of the corruptions is not installed.
    """

    def __init__(
        self,
        corruption: str,
        severity: int,
        seed: int = 0,
        jpeg_quality: int | None = None,
        channel_order: str = 'bgr',
    ) -> None:
        check_corruption(corruption, severity)
        if channel_order not in ('bgr', 'rgb'):
            raise ArgumentError(
                f"channel_order={channel_order!r} must be 'bgr' or 'rgb'."
            )
        self.corruption = corruption
        self.severity = severity
        self.seed = seed
        self.jpeg_quality = jpeg_quality
        self.channel_order = channel_order
        load_corrupt_function()
        if corruption == 'glass_blur':
            # It is compiled at its first call: here once for all of a data loader's
            # workers.
            corrupt_image(np.zeros((32, 32, 3), np.uint8), corruption, severity, key='')

    def transform(self, results: dict) -> dict:
        """Replace ``results['img']``."""
        step = -1 if self.channel_order == 'bgr' else 1
        corrupted = corrupt_image(
            np.ascontiguousarray(results['img'][..., ::step]),
            self.corruption,
            self.severity,
            key='/'.join(Path(results['img_path']).parts[-2:]),
            seed=self.seed,
            jpeg_quality=self.jpeg_quality,
        )
        results['img'] = np.ascontiguousarray(corrupted[..., ::step])
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruption={self.corruption!r}, '
            f'severity={self.severity}, seed={self.seed}, '
            f'jpeg_quality={self.jpeg_quality}, channel_order={self.channel_order!r})'
        )


@TRANSFORMS.register_module()
class LoadImageOrMark(BaseTransform):
    """Load an image as a config does, and mark what cannot be read.

    A file that is no whole image becomes a black image with the reason in
    ``results['unreadable']`` (empty for all others), so that
    :class:`mmdcls.evaluation.MaskedAccuracy` can leave it out of the score and name it.

    Args:
        loading: The config's own loading transform; None stands for
            ``LoadImageFromFile`` with its defaults.
        channels: The number of channels of the black image.
    """

    def __init__(self, loading: dict | None = None, channels: int = 3) -> None:
        self.loading = TRANSFORMS.build(dict(loading or DEFAULT_LOADING))
        self.channels = channels

    def transform(self, results: dict) -> dict:
        """Add what the loading transform adds, and ``unreadable``."""
        try:
            return {**load_whole(results, self.loading), 'unreadable': ''}
        except UnreadableImageError as error:
            reason = str(error)
        shape = (256, 256) if self.channels == 1 else (256, 256, self.channels)
        to_float32 = getattr(self.loading, 'to_float32', False)
        black = np.zeros(shape, np.float32 if to_float32 else np.uint8)
        size = (256, 256)
        return {
            **results,
            'img': black,
            'img_shape': size,
            'ori_shape': size,
            'unreadable': reason,
        }

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.loading!r}, channels={self.channels})'
