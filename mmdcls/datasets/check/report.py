"""What a check finds, and what it looks at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN = 5
"""How many values or names a sentence lists."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: The file or folder, or the key of the config.
        message: A sentence on what is wrong, without its full stop.
        may_be_meant: True where somebody might want it so; a training then goes on.
    """

    path: str
    message: str
    may_be_meant: bool = False

    def __str__(self) -> str:
        return f'{self.path}: {self.message}'


@dataclass(frozen=True)
class LabelRange:
    """What the label maps of a data set may hold.

    Attributes:
        classes: The names of the classes, in the order of their labels after loading.
        first: The value that a file holds for the first class: 1 where 0 is reduced.
        last: The largest label that a file may hold, but for ``ignored``.
        ignored: The label, after loading, that takes no part in the loss.
    """

    classes: tuple[str, ...]
    first: int
    last: int
    ignored: int


@dataclass(frozen=True, slots=True)
class Sample:
    """An image and what must be true of it.

    Attributes:
        item: The dictionary that the data set gives to its pipeline; ``img_path`` is
            the image.
        size: Width and height that an annotation file tells.
        labels: The labels that the label map ``item['seg_map_path']`` may hold, if
            there is one.
    """

    item: Mapping[str, Any]
    size: tuple[int, int] | None = None
    labels: LabelRange | None = None

    @property
    def image(self) -> str:
        """Return the path of the image."""
        return self.item['img_path']


@dataclass
class Report:
    """What was found about one data set of a config.

    Attributes:
        key: The dotted key of the data set in the config, such as
            ``'train_dataloader.dataset'``.
        type: The name of its class.
        folder: The folder of its images.
        label_folder: The folder of its label maps, if it has any.
        counts: Number of images, and of label maps, annotations or classes.
        published: Images of the published data set, where known.
        problems: All that is wrong, in the order of the files.
        notes: Sentences on what may be as it should, but is good to know.
    """

    key: str
    type: str
    folder: str = ''
    label_folder: str = ''
    counts: dict[str, int] = field(default_factory=dict)
    published: int | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, path: str | os.PathLike, message: str, **kwargs: bool) -> None:
        """Note a problem."""
        self.problems.append(Problem(str(path), message, **kwargs))

    def has_folders(self, *folders: str) -> bool:
        """Tell whether all are folders, and note those that are not."""
        missing = [folder for folder in folders if not os.path.isdir(folder)]
        for folder in missing:
            self.add(folder, 'is no folder')
        return not missing

    def note_absent(self, names: Sequence[str], total: int) -> None:
        """Note which classes no image shows."""
        if names:
            verb = 'occurs' if len(names) == 1 else 'occur'
            self.notes.append(
                f'{len(names)} of {total} classes never {verb}: {enumerate_some(names)}'
            )


def enumerate_some(values: Sequence[object]) -> str:
    """List the first values, with dots if there are more."""
    shown = ', '.join(map(str, values[:SHOWN]))
    return f'{shown}, …' if len(values) > SHOWN else shown
