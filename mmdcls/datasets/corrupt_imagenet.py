"""Writes ImageNet-C from clean images, as the published files were made.

Shorter side to 256 pixels (bilinear), centre crop 224, corruption, JPEG of quality 85.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from PIL import Image
from torchvision.transforms import functional

from mmdcls.errors import ArgumentError
from mmdcls.files import (
    UnreadableFileError,
    list_images,
    read_json,
    refuse_overwriting,
    write_text,
    written_whole,
)

from .corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    check_corruption,
    corrupt_image,
    corruptions_version,
    save_jpeg,
)
from .imagenet_variants import class_folders
from .loading import UnreadableImageError, displayable, load_whole

MANIFEST = 'corrupt_imagenet.json'
"""Says what the images were made of; one folder holds images of one making."""

# As most configs do, so that clean and corrupted images were read alike.
_LOAD = LoadImageFromFile()


@dataclass(frozen=True)
class Making:
    """How clean images become corrupted ones.

    Attributes:
        resize: Length of the shorter side, in pixels.
        crop: Side of the centre crop, in pixels.
        quality: The quality of the JPEG files, 1 to 95.
        seed: The seed of all noise; an image's noise depends on its class and name,
            too.
    """

    resize: int = 256
    crop: int = 224
    quality: int = 85
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse crops that are larger than what they are cut from.

        Raises:
            ArgumentError: If a value is out of its range.
        """
        if not 32 <= self.crop <= self.resize:
            raise ArgumentError(
                f'crop={self.crop} must be at least 32 and at most '
                f'resize={self.resize}.'
            )
        if not 1 <= self.quality <= 95:
            raise ArgumentError(f'quality={self.quality} must be from 1 to 95.')
        if self.seed < 0:
            raise ArgumentError(f'seed={self.seed} must be 0 or more.')


def corrupt_imagenet(
    source: str | os.PathLike,
    target: str | os.PathLike,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    making: Making | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[tuple[str, str]]:
    """Write ``<target>/<corruption>/<severity>/<class>/<name>`` for every image.

    Files that are there already are left alone, so that a stopped run goes on where it
    was; each is written under another name first, so that none is ever incomplete.

    Args:
        source: Folder of class folders of images.
        target: Made if missing.
        corruptions: The names of the corruptions, as ImageNet-C has them.
        severities: 1 to 5.
        making: The way in which images are made; None stands for the published one.
        workers: Processes.
        progress: Called with (source images done, source images in all).

    Returns:
        Path and reason of every source image that cannot be read, sorted.

    Raises:
        ArgumentError: If an argument is wrong, if ``source`` holds no image, or if
            ``target`` holds images of another making or source.
        OverwritingError: If ``target`` is ``source`` or lies in it.
        ImportError: If the package of the corruptions is not installed.
    """
    source, target = Path(source), Path(target)
    if workers < 1:
        raise ArgumentError(f'workers={workers} must be at least 1.')
    refuse_overwriting([target], [source])
    making = making or Making()
    for corruption in corruptions:
        for severity in severities:
            check_corruption(corruption, severity)
    folders = class_folders(source) if source.is_dir() else []
    names = sorted(
        path.relative_to(source).as_posix()
        for folder in folders
        for path in list_images(source / folder)
    )
    if not names:
        raise ArgumentError(f"source='{source}' has no images in class folders.")
    _check_manifest(source, target, names, making)
    work = partial(_corrupt_one, source, target, corruptions, severities, making)
    problems = []
    with _parallel_map(workers) as parallel_map:
        for done, (name, problem) in enumerate(parallel_map(work, names), 1):
            if problem:
                problems.append((name, problem))
            progress(done, len(names))
    return sorted(problems)


@contextmanager
def _parallel_map(workers: int) -> Iterator[Callable]:
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context('spawn')
    # Unlike multiprocessing's pool, it notices when one of its processes is killed.
    pool = ProcessPoolExecutor(workers, context, _start_worker)
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave the cores and Ctrl-C to the main process."""
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _check_manifest(
    source: Path, target: Path, names: Sequence[str], making: Making
) -> None:
    """Write what the images are made of, or compare with what is written there."""
    # A link to nowhere has no size; reading it says what is wrong.
    listing = [
        (name, path.stat().st_size if path.exists() else 0)
        for name, path in ((name, source / name) for name in names)
    ]
    manifest = dict(
        tool='mmdcls corrupt_imagenet',
        making=asdict(making),
        loading=repr(_LOAD),
        corruptions_package=corruptions_version(),
        images=hashlib.sha256(json.dumps(listing).encode()).hexdigest(),
    )
    path = target / MANIFEST
    if path.exists():
        try:
            kept: Any = read_json(path)
        except UnreadableFileError:
            kept = None
        kept = kept if isinstance(kept, dict) else {}
        for name, value in manifest.items():
            if kept.get(name) != value:
                raise ArgumentError(
                    f"'{target}' holds images of another making ({name} was "
                    f'{kept.get(name)!r} and is {value!r}): choose another folder.'
                )
    elif target.is_dir() and any(target.iterdir()):
        raise ArgumentError(
            f"'{target}' is not empty and was not made by corrupt_imagenet: choose "
            'another folder.'
        )
    else:
        target.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(manifest, indent=1) + '\n')


def _corrupt_one(
    source: Path,
    target: Path,
    corruptions: Sequence[str],
    severities: Sequence[int],
    making: Making,
    name: str,
) -> tuple[str, str]:
    """Write what is missing of one source image; returns its name and its problem."""
    missing = [
        (corruption, severity)
        for corruption in corruptions
        for severity in severities
        if not (target / corruption / str(severity) / name).exists()
    ]
    if not missing:
        return name, ''
    try:
        image = load_cropped(source / name, making)
    except UnreadableImageError as error:
        return name, str(error)
    for corruption, severity in missing:
        corrupted = corrupt_image(image, corruption, severity, name, making.seed)
        with written_whole(target / corruption / str(severity) / name) as temporary:
            save_jpeg(corrupted, temporary, making.quality)
    return name, ''


def load_cropped(path: Path, making: Making) -> np.ndarray:
    """Read an image as it is corrupted: RGB, resized and cropped.

    Raises:
        UnreadableImageError: If the file is no whole image.
    """
    pixels = displayable(load_whole({'img_path': str(path)}, _LOAD)['img'])
    image = functional.resize(Image.fromarray(pixels), making.resize)
    return np.array(functional.center_crop(image, making.crop))
