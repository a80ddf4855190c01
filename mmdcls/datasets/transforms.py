"""Transforms of robustness evaluations: corrupt on the fly, load without guessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile

from mmdcls.registry import TRANSFORMS

from .corruptions import check_corruption, corrupt_image, load_corrupt_function


@TRANSFORMS.register_module()
class Corrupt(BaseTransform):
    """Corrupt ``img`` as ImageNet-C does; deterministic for each image.

    Goes right after ``LoadImageFromFile`` in segmentation and detection, and after the
    crop in classification.

    Args:
        corruption: One of the 19 names of ImageNet-C.
        severity: 1 to 5.
        seed: Another seed gives other noise.
        jpeg_quality: Also compress, as the files of ImageNet-C are (85 there).
        channel_order: Of ``img``: ``'bgr'``, as mmcv loads it, or ``'rgb'``.

    Raises:
        ValueError: If an argument is none of these, or ``img`` is not uint8.
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
            raise ValueError(f"channel_order={channel_order!r} must be 'bgr' or 'rgb'.")
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
class LoadImageOrMark(LoadImageFromFile):
    """Load an image as the published evaluations do, and mark what cannot be read.

    Decodes with Pillow, which refuses truncated files where OpenCV fills in grey, and
    ignores EXIF orientation, as torchvision's loader does. An image that cannot be
    decoded becomes a black one with the reason in ``results['unreadable']`` (empty
    for all others), so that :class:`mmdcls.evaluation.MaskedAccuracy` can leave it out
    of the score and name it.
    """

    def __init__(self) -> None:
        super().__init__(
            imdecode_backend='pillow', color_type='color_ignore_orientation'
        )

    def transform(self, results: dict) -> dict:
        """Add ``img``, ``img_shape``, ``ori_shape`` and ``unreadable``."""
        try:
            results = super().transform(results)
            results['unreadable'] = ''
        except Exception as error:  # Pillow raises many kinds, by the file's format.
            results['unreadable'] = ' '.join(str(error).split()) or repr(error)
            results['img'] = np.zeros((256, 256, 3), np.uint8)
            results['img_shape'] = results['ori_shape'] = (256, 256)
        return results
