"""A data set with what a config does with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .labels import ClassList


@dataclass(frozen=True)
class Source:
    """A data set that knows its paths, and what reads it.

    Attributes:
        key: Where the config has it, such as ``'train_dataloader.dataset'``.
        dataset: The data set, without its list of images.
        pipeline: Its transforms as the config describes them.
        metrics: The metrics of its split as the config describes them.
    """

    key: str
    dataset: object
    pipeline: Sequence[dict] = ()
    metrics: Sequence[dict] = ()

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
