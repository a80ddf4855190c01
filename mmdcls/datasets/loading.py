"""How a config loads its images, and which files are no whole images.

OpenCV, which most configs decode with, fills up truncated files in silence in some
versions. Pillow refuses them in all, so that its decoder tells which files are whole;
the pixels are always those of the config's own loading transform.
"""

from __future__ import annotations

import copy
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from mmengine import fileio
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from PIL import Image, UnidentifiedImageError

from mmdcls.configs import iter_datasets
from mmdcls.errors import MmdclsError

DEFAULT_LOADING = {'type': 'LoadImageFromFile'}
"""What loads the images where a config does not tell."""

Loading = Callable[[dict], dict | None]
"""A loading transform, such as mmcv's ``LoadImageFromFile``, built."""

_LABEL_FILES = ('.json', '.txt')


class UnreadableImageError(MmdclsError, ValueError):
    """A file that is no whole image, with the reason."""


def transform_name(transform: Mapping) -> str:
    """Return the class name of a transform's config, without its scope.

    Example:
        >>> transform_name(dict(type='mmseg.LoadAnnotations'))
        'LoadAnnotations'
    """
    kind = transform.get('type', '')
    return (kind if isinstance(kind, str) else kind.__name__).rsplit('.', 1)[-1]


def loads_image(transform: Mapping) -> bool:
    """Tell by its name, ``Load…Image…``, whether a transform's config loads an image.

    Example:
        >>> loads_image(dict(type='mmseg.LoadSingleRSImageFromFile'))
        True
        >>> loads_image(dict(type='LoadAnnotations'))
        False
    """
    name = transform_name(transform)
    return name.startswith('Load') and 'Image' in name


def find_loading(pipeline: Sequence[Mapping]) -> int | None:
    """Find the transform that loads the image.

    Args:
        pipeline: Configs of transforms.

    Returns:
        The index of the first one that :func:`loads_image`; None if there is none.
    """
    return next((i for i, step in enumerate(pipeline) if loads_image(step)), None)


def iter_steps(pipeline: Iterable) -> Iterator[Mapping]:
    """Yield the transforms of a pipeline, those within others (``transforms``) too."""
    for step in pipeline:
        if isinstance(step, Mapping):
            yield step
            yield from iter_steps(step.get('transforms') or [])
        elif isinstance(step, Sequence) and not isinstance(step, str):
            yield from iter_steps(step)


def loading_steps(pipeline: Iterable) -> list[Mapping]:
    """List the transforms of a pipeline that read files: those named ``Load…``."""
    return [
        step for step in iter_steps(pipeline) if transform_name(step).startswith('Load')
    ]


def reason_of(error: Exception) -> str:
    """Write an error of a decoder, which may be of several lines, in one."""
    return ' '.join(str(error).split()) or repr(error)


def loading_of(cfg: Config) -> dict:
    """Give the transform that a config loads its test images with.

    That of the validation images where there are no test images, and
    ``LoadImageFromFile`` with its defaults where the config tells of neither.
    """
    for split in ('test', 'val'):
        for _, dataset in iter_datasets(cfg, split):
            pipeline = dataset.get('pipeline') or []
            place = find_loading(pipeline)
            if place is not None:
                return copy.deepcopy(dict(pipeline[place]))
    return dict(DEFAULT_LOADING)


class NamingTransform:
    """A transform that reads files, and names the one that it cannot read.

    Args:
        transform: The transform, such as mmcv's ``LoadImageFromFile``.
    """

    def __init__(self, transform: Loading) -> None:
        self.transform = transform
        image = loads_image({'type': type(transform).__name__})
        self._key = 'img_path' if image else 'seg_map_path'

    def __call__(self, results: dict) -> dict | None:
        """Load as the transform does.

        Raises:
            UnreadableImageError: If it cannot; the message names the file.
        """
        path = results.get(self._key)
        if not isinstance(path, str):
            return self.transform(results)
        try:
            refuse_special_file(path)
            return self.transform(results)
        except (MemoryError, MmdclsError) as error:
            if isinstance(error, UnreadableImageError):
                raise UnreadableImageError(
                    f"'{path}' cannot be read: {error}."
                ) from error
            raise
        except Exception as error:  # Decoders raise many kinds, by the file's format.
            raise UnreadableImageError(
                f"'{path}' cannot be read: {reason_of(error)}; tools/check_dataset.py "
                'finds all such files.'
            ) from error

    def __repr__(self) -> str:
        return repr(self.transform)


def refuse_special_file(path: str | os.PathLike) -> None:
    """Refuse pipes and devices, from which a reader would wait or read forever.

    A file that does not exist, or that another storage has, is left to its reader.

    Raises:
        UnreadableImageError: If the path is one of these.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode):
        raise UnreadableImageError('it is no regular file')


def load_whole(results: dict, load: Loading) -> dict:
    """Load an image, and refuse a file that is no whole image.

    Args:
        results: The dictionary that a data set gives to its pipeline, with
            ``img_path``.
        load: A loading transform.

    Returns:
        The dictionary that ``load`` gives.

    Raises:
        UnreadableImageError: If the image cannot be read; the message is the reason.
    """
    check_whole(results['img_path'], load)
    with _one_reason():
        return _load(results, load)


def check_whole(path: str, load: Loading) -> None:
    """Refuse a file that is no whole image.

    Args:
        path: The file, also one of a storage that ``load`` names by ``backend_args``.
        load: A loading transform; it decides where Pillow does not know the format.

    Raises:
        UnreadableImageError: If it cannot; the message is the reason.
    """
    with _one_reason():
        refuse_special_file(path)
        content = fileio.get(path, backend_args=getattr(load, 'backend_args', None))
        if not content:
            raise UnreadableImageError('the file is empty')
        try:
            with Image.open(BytesIO(content)) as image:
                # All of a JPEG's data at an eighth of its size: twice as fast.
                image.draft('L', (1, 1))
                image.load()
        except UnidentifiedImageError:
            try:
                _load({'img_path': path}, load)
            except UnreadableImageError:
                raise
            except Exception as error:
                raise UnreadableImageError('its format is unknown') from error
        except Image.DecompressionBombError:
            _load({'img_path': path}, load)


def _load(results: dict, load: Loading) -> dict:
    loaded = load(dict(results))
    if loaded is None:  # With ignore_empty=True.
        raise UnreadableImageError('no image is in it')
    return loaded


@contextmanager
def _one_reason() -> Iterator[None]:
    try:
        yield
    except UnreadableImageError:
        raise
    except Exception as error:  # Decoders raise many kinds, by the file's format.
        raise UnreadableImageError(reason_of(error)) from error


def list_files(dataset: BaseDataset) -> list[str]:
    """List the images, label images and annotation file that a data set reads."""
    paths = []
    for i in range(len(dataset)):
        sample = dataset.get_data_info(i)
        paths += [
            sample[key]
            for key in ('img_path', 'seg_map_path')
            if isinstance(sample.get(key), str)
        ]
    annotations = getattr(dataset, 'ann_file', '')
    return [*paths, annotations] if annotations else paths


def check_readable(paths: Iterable[str], load: Loading) -> None:
    """Decode every image once.

    Args:
        paths: The files: images, and files of labels, which are skipped.
        load: The loading transform, as :func:`check_whole` takes it.

    Raises:
        UnreadableImageError: Counts and names those that are no whole images.
    """
    paths = [path for path in paths if not path.endswith(_LABEL_FILES)]

    def find_problem(path: str) -> str:
        try:
            check_whole(path, load)
        except UnreadableImageError as error:
            return f"'{path}' ({error})"
        return ''

    with ThreadPoolExecutor() as pool:
        problems = [problem for problem in pool.map(find_problem, paths) if problem]
    if problems:
        raise UnreadableImageError(
            f'{len(problems)} of {len(paths)} images cannot be read: '
            f'{", ".join(problems[:10])}{", ..." if len(problems) > 10 else ""}.'
        )


def displayable(image: np.ndarray) -> np.ndarray:
    """Turn what a loading transform gave into a picture for people.

    Args:
        image: ``(H, W)`` or ``(H, W, channels)`` with 0 to 255, or 0 to 65,535 in
            uint16; the first three channels are taken for BGR, of fewer the first for
            grey.

    Returns:
        RGB, ``(H, W, 3)``, uint8.
    """
    image = np.atleast_3d(image)
    image = image[..., [2, 1, 0] if image.shape[2] >= 3 else [0, 0, 0]]
    if image.dtype == np.uint16:
        image = image >> 8
    return np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
