"""The mini ImageNet in the layouts of the robustness benchmarks.

Only ImageNet-C is the real thing. C-bar's folders hold corruptions of ImageNet-C, A's
mirrored, R's posterised and Sketch's edge images of the same photographs: they exercise
the evaluation, and their scores say nothing about the benchmarks they stand for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageFilter, ImageOps

from mmdcls.datasets.corrupt_imagenet import Making, corrupt_imagenet
from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from mmdcls.datasets.imagenet_variants import CBAR_SEVERITIES, read_wordnet_ids
from mmdcls.errors import ArgumentError
from mmdcls.files import list_images, refuse_overwriting

CBAR_STAND_INS = dict(zip(CBAR_SEVERITIES, CORRUPTIONS, strict=False))
"""Which corruption of ImageNet-C lies in a folder of the mini C-bar."""

FOLDERS = (
    'imagenet/val',
    'imagenet-c',
    'imagenet-c-bar',
    'imagenet-c-bar-generated/ImageNet-C-Bar',
    'imagenet-a',
    'imagenet-r',
    'imagenet-sketch',
)
"""What :func:`make_mini_robustness` writes; C-bar in both public layouts."""


def make_mini_robustness(
    source: str | os.PathLike,
    target: str | os.PathLike,
    images_per_class: int = 4,
    size: int = 64,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Write the folders of :data:`FOLDERS`, all of them or none.

    Args:
        source: Validation images of the mini ImageNet: folders of classes.
        target: Must not exist, or be a complete result of this function, which is left
            alone.
        images_per_class: The first ones by name.
        size: Side of ImageNet-C's and C-bar's images, in pixels: the crop of the model
            that is to be evaluated.
        workers: Processes.
        progress: Called with (images done, images in all) while C is written.

    Returns:
        True if the folders were written, False if they were there.

    Raises:
        ArgumentError: If ``source`` has too few images or ``target`` is something else.
        OverwritingError: If ``target`` is ``source`` or lies in it.
    """
    source, target = Path(source), Path(target)
    if images_per_class < 1:
        raise ArgumentError(f'images_per_class={images_per_class} must be at least 1.')
    refuse_overwriting([target], [source])
    if all((target / folder).is_dir() for folder in FOLDERS):
        return False
    if target.exists() and any(target.iterdir()):
        raise ArgumentError(
            f"target='{target}' is not empty and not a complete mini robustness set: "
            'choose another folder, or move it away.'
        )
    building = target.with_name(f'.{target.name}.{os.getpid()}')
    shutil.rmtree(building, ignore_errors=True)
    try:
        _copy_first(source, building / 'imagenet/val', images_per_class)
        making = Making(resize=round(size * 256 / 224), crop=size)
        problems = corrupt_imagenet(
            building / 'imagenet/val',
            building / 'imagenet-c',
            CORRUPTIONS + EXTRA_CORRUPTIONS,
            making=making,
            workers=workers,
            progress=progress,
        )
        if problems:
            raise ArgumentError(f"'{problems[0][0]}' of '{source}' cannot be read.")
        _stand_in(building)
        if target.exists():
            target.rmdir()
        os.replace(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return True


def _copy_first(source: Path, target: Path, count: int) -> None:
    classes = sorted(path for path in source.glob('n*') if path.is_dir())
    if not classes:
        raise ArgumentError(f"source='{source}' has no class folders.")
    for folder in classes:
        images = list_images(folder)
        if len(images) < count:
            raise ArgumentError(
                f"images_per_class={count}, but '{folder}' holds {len(images)}."
            )
        (target / folder.name).mkdir(parents=True)
        for path in images[:count]:
            if not path.is_file():
                raise ArgumentError(f"'{path}' is no regular file.")
            shutil.copyfile(path, target / folder.name / path.name)


def _stand_in(root: Path) -> None:
    generated = root / 'imagenet-c-bar-generated/ImageNet-C-Bar'
    for name, corruption in CBAR_STAND_INS.items():
        for severity in SEVERITIES:
            made = root / 'imagenet-c' / corruption / str(severity)
            shutil.copytree(made, root / 'imagenet-c-bar' / name / str(severity))
            strength = CBAR_SEVERITIES[name][severity - 1]
            shutil.copytree(made, generated / name / f'{strength:.2f}')
    _redraw(root, 'imagenet-a', ImageOps.mirror, read_wordnet_ids('imagenet_a'))
    _redraw(root, 'imagenet-r', _posterize, read_wordnet_ids('imagenet_r'))
    _redraw(root, 'imagenet-sketch', _sketch, read_wordnet_ids())


def _redraw(root: Path, folder: str, draw: Callable, classes: tuple[str, ...]) -> None:
    for path in sorted((root / 'imagenet/val').glob('*/*')):
        wnid = path.parent.name
        if wnid in classes:
            (root / folder / wnid).mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                drawn = draw(image.convert('RGB'))
            drawn.save(root / folder / wnid / f'{path.stem}.jpg', quality=95)


def _posterize(image: Image.Image) -> Image.Image:
    return ImageOps.posterize(image, 2)


def _sketch(image: Image.Image) -> Image.Image:
    return ImageOps.invert(image.convert('L').filter(ImageFilter.FIND_EDGES))
