"""A data set with what a config does with it, and its annotation files."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope

from mmdcls.configs import iter_datasets, iter_metrics
from mmdcls.errors import ArgumentError
from mmdcls.files import read_json
from mmdcls.registry import find_class

from .labels import ClassList


class AnnotationFiles:
    """The annotation files of a config, each read once, whoever asks for it.

    Several data sets and metrics name the same file, and that of COCO's training
    images has 450 MB.

    Args:
        largest_file: Size in bytes above which a file is left alone, as is one that is
            not on this machine; None stands for reading all.
    """

    def __init__(self, largest_file: int | None = None) -> None:
        self._largest_file = largest_file
        self._contents: dict[str, dict] = {}
        self._categories: dict[str, dict[int, str]] = {}

    def may_read(self, path: str) -> bool:
        """Tell whether a file is one to read."""
        largest = self._largest_file
        return largest is None or (
            os.path.isfile(path) and os.path.getsize(path) <= largest
        )

    def read_coco(self, path: str) -> dict:
        """Read a file in COCO's format.

        Raises:
            ValueError: If it has another format.
        """
        place = os.path.realpath(path)
        if place not in self._contents:
            content = _read_coco(path)
            self._contents[place] = content
            self._categories[place] = category_names(content)
        return self._contents[place]

    def category_names(self, path: str) -> dict[int, str]:
        """Give the :func:`category_names` of a file, also after its content is dropped.

        Raises:
            ValueError: If the file has another format than COCO's.
        """
        place = os.path.realpath(path)
        if place not in self._categories:
            self.read_coco(path)
        return self._categories[place]

    def drop_contents(self) -> None:
        """Free the memory of what was read, but for the names of the categories."""
        self._contents.clear()


def _read_coco(path: str) -> dict:
    try:
        content: Any = read_json(path)
        # Test sets may come without annotations.
        optional = ['annotations'] if 'annotations' in content else []
        for name in ['images', 'categories', *optional]:
            if not all(isinstance(part, dict) for part in content[name]):
                raise TypeError(f'{name} must be a list of dictionaries')
        _check_values(content)
    except (ValueError, KeyError, TypeError) as error:
        reason = f'{type(error).__name__}: {error}'
        raise ValueError(f'is no annotation file in COCO format ({reason})') from error
    return content


def _check_values(content: dict) -> None:
    """Refuse values that nobody can work with; keys may be missing.

    Raises:
        ValueError: If there is one; the message says where.
    """
    for kind, words in _KINDS.items():
        for part in content.get(kind) or []:
            for name, is_right, expected in _VALUES[kind]:
                if name in part and not is_right(part[name]):
                    shown = repr(part[name])
                    raise ValueError(
                        f'{words} {part.get("id")!r} has {name}='
                        f'{shown if len(shown) < 60 else shown[:60] + "…"}, where '
                        f'{expected} is expected'
                    )
    category_names(content)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str))


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


_KINDS = {'images': 'image', 'annotations': 'annotation', 'categories': 'category'}
_VALUES: dict[str, tuple] = {
    'categories': (
        ('id', _is_id, 'a number'),
        ('name', lambda value: isinstance(value, str), 'a text'),
    ),
    'images': (
        ('id', _is_id, 'a number'),
        ('file_name', lambda value: isinstance(value, str) and value, 'a name'),
        ('width', lambda value: _is_number(value) and value > 0, 'a positive number'),
        ('height', lambda value: _is_number(value) and value > 0, 'a positive number'),
    ),
    'annotations': (
        ('id', _is_id, 'a number'),
        ('image_id', _is_id, 'a number'),
        ('category_id', _is_id, 'a number'),
        ('bbox', _is_box, 'a list of x, y, width and height'),
        ('area', _is_number, 'a number'),
    ),
}
"""What the values of keys must be, with the words for it."""


def category_names(content: dict) -> dict[Any, str]:
    """Give the names of the categories by their ids, in the order of the file."""
    return {category['id']: category['name'] for category in content['categories']}


@dataclass(frozen=True)
class Source:
    """A data set that knows its paths, and what reads it.

    Attributes:
        key: The dotted key of the data set in the config, such as
            ``'train_dataloader.dataset'``.
        config: The data set as the config describes it.
        dataset: The data set, built without its list of images.
        metrics: The metrics of its split as the config describes them.
        files: The annotation files of the whole config.
    """

    key: str
    config: Mapping
    dataset: Any
    metrics: Sequence[Mapping] = ()
    files: AnnotationFiles = field(default_factory=AnnotationFiles)

    @property
    def pipeline(self) -> Sequence[Mapping]:
        """Return the transforms as the config describes them."""
        return self.config.get('pipeline') or []

    def told_classes(self) -> ClassList | None:
        """Give the classes of its class or ``metainfo``, in the order of labels.

        None if it has none, or if they are not what a head tells apart: the texts of
        detection by free text, or "things" and "stuff" together.
        """
        metainfo = self.dataset.metainfo
        names = metainfo.get('classes')
        texts = getattr(self.dataset, 'return_classes', False)
        if not names or texts or 'thing_classes' in metainfo:
            return None
        return ClassList(self.key, 'classes', tuple(names), len(names))


def open_source(
    key: str,
    config: Mapping,
    metrics: Sequence[Mapping] = (),
    files: AnnotationFiles | None = None,
) -> Source:
    """Build a data set without listing its images: it resolves its paths itself.

    Args:
        key: The dotted key of the data set in the config, for messages.
        config: The data set as the config describes it, in the current default scope.
        metrics: The metrics that its split is evaluated with, as the config describes
            them.
        files: The annotation files that were read for the config's other data sets;
            None stands for none.

    Raises:
        ArgumentError: If the data set refuses the config's settings.
    """
    kept = {k: v for k, v in config.items() if k not in ('pipeline', 'lazy_init')}
    try:
        dataset = DATASETS.build(dict(kept, pipeline=[], lazy_init=True))
    except (AssertionError, TypeError, KeyError, ValueError) as error:
        raise ArgumentError(
            f"{key}: type='{config.get('type')}' cannot be checked: {error}"
        ) from error
    return Source(key, config, dataset, metrics, files or AnnotationFiles())


def open_sources(
    cfg: Config,
    splits: Sequence[str],
    largest_file: int | None = None,
    skip_unbuildable: bool = False,
) -> list[Source]:
    """Build every data set of some splits without listing its images.

    Args:
        cfg: The config.
        splits: The splits whose data sets are opened, of ``'train'``, ``'val'`` and
            ``'test'``.
        largest_file: Size in bytes above which no annotation file is read; None stands
            for reading all.
        skip_unbuildable: Leave out data sets that are none of mmengine's or refuse
            their settings, of which building the runner says what is wrong.

    Raises:
        ArgumentError: If :func:`open_source` raises it, unless such data sets are left
            out.
    """
    files = AnnotationFiles(largest_file)
    sources = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for split in splits:
            metrics = [metric for _, metric in iter_metrics(cfg, split)]
            for key, config in iter_datasets(cfg, split):
                if skip_unbuildable and not _is_of_mmengine(config):
                    continue
                try:
                    sources.append(open_source(key, config, metrics, files))
                except ArgumentError:
                    if not skip_unbuildable:
                        raise
    return sources


def _is_of_mmengine(config: Mapping) -> bool:
    cls = find_class(DATASETS, config['type'])
    return isinstance(cls, type) and issubclass(cls, BaseDataset)
