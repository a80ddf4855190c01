"""How many images a core loads in a second, for a config's training pipeline."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

SIZE = (500, 375)
"""Width and height that most images of ImageNet have."""


def images_per_core(cfg: Config, seconds: float = 5.0) -> float:
    """Measure a classification config's training pipeline on JPEG files of this size.

    In seconds of the processor, so that other programs on the machine do not count.

    Args:
        cfg: The config.
        seconds: For how long.
    """
    init_default_scope(cfg.default_scope)
    pipeline = Compose(cfg.train_dataloader.dataset.pipeline)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        samples = [
            dict(img_path=str(path), gt_label=0)
            for path in _write_photographs(Path(folder), 16)
        ]
        for sample in samples:
            pipeline(dict(sample))
        start = time.process_time()
        for count, sample in enumerate(itertools.cycle(samples), start=1):
            pipeline(dict(sample))
            elapsed = time.process_time() - start
            if elapsed > seconds:
                return count / elapsed
    raise AssertionError


def _write_photographs(folder: Path, count: int) -> list[Path]:
    """Write pictures with detail at all scales, as photographs have it."""
    random = np.random.default_rng(0)
    width, height = SIZE
    paths = []
    for number in range(count):
        picture = np.zeros((height, width, 3))
        for scale in (2, 4, 8, 16, 32, 64):
            shape = (height // scale + 1, width // scale + 1, 3)
            noise = random.standard_normal(shape) * scale
            picture += cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC)
        picture = 128 + picture * 50 / picture.std()
        path = folder / f'{number}.jpg'
        cv2.imwrite(str(path), picture.clip(0, 255).astype(np.uint8))
        paths.append(path)
    return paths
