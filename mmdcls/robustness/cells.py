"""Cells: the smallest results of a robustness run, kept on disk one by one.

A cell is one data set at one corruption and severity. Its file says which checkpoint,
config, protocol and images it was computed from, so that it is used again only for the
very same ones.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmdcls.errors import MmdclsError
from mmdcls.files import read_json, write_text

FORMAT = 1
"""Raised whenever the meaning of a cell's file changes."""


class ImageFileError(MmdclsError, ValueError):
    """A file that has vanished, or is a pipe or a device, where an image should be."""


@dataclass(frozen=True, order=True)
class Cell:
    """One evaluation of a run.

    Attributes:
        benchmark: ``'clean'``, ``'c'``, ``'c_extra'``, ``'cbar'``, ``'a'``, ``'r'`` or
            ``'sketch'``.
        corruption: The corruption of ``'c'``, ``'c_extra'`` and ``'cbar'``; empty
            otherwise.
        severity: 1 to 5 with a corruption, 0 otherwise.
    """

    benchmark: str
    corruption: str = ''
    severity: int = 0

    def __str__(self) -> str:
        if not self.corruption:
            return self.benchmark
        return f'{self.benchmark}/{self.corruption}/{self.severity}'


class CellStore:
    """The finished cells of a run, in a folder.

    Args:
        folder: Made when the first cell is written.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)

    def path(self, cell: Cell) -> Path:
        """Return where a cell is kept."""
        return self.folder / f'{cell}.json'

    def load(self, cell: Cell, key: dict, images: ImageFiles) -> dict | None:
        """Give a finished cell's result.

        Args:
            cell: The cell that is wanted.
            key: Fingerprints of the checkpoint, the config and the protocol.
            images: The files that the cell would be computed from now.

        Returns:
            The result that :meth:`save` was given, or None where there is nothing,
            something unreadable, or a result of another checkpoint, config, protocol or
            of other image files.
        """
        try:
            kept: Any = read_json(self.path(cell))
            key_kept, state, content, result = (
                kept[name] for name in ('key', 'state', 'content', 'result')
            )
        except (ValueError, KeyError, TypeError):
            return None
        if key_kept != {'format': FORMAT, **key}:
            return None
        if state != images.state():
            if content != images.content():
                return None
            self.save(cell, key, images, result)
        return result

    def save(self, cell: Cell, key: dict, images: ImageFiles, result: dict) -> None:
        """Write a finished cell, all of it or nothing."""
        kept = dict(
            key={'format': FORMAT, **key},
            state=images.state(),
            content=images.content(),
            result=result,
        )
        write_text(self.path(cell), json.dumps(kept, indent=1))


class ImageFiles:
    """The files that a cell is computed from.

    Two fingerprints tell whether they are the same as before. :meth:`content` decides:
    it covers every byte. :meth:`state` spares reading them again: as in git's index, a
    file whose size, inode, modification and change time are as they were is taken to be
    unchanged.

    Args:
        paths: The files, in any order.
    """

    def __init__(self, paths: Iterable[str | os.PathLike]) -> None:
        self.paths = sorted({os.path.abspath(path) for path in paths})
        self.root = os.path.commonpath([os.path.dirname(path) for path in self.paths])
        self._content: dict[str, str] = {}

    def state(self) -> str:
        """Fingerprint what the file system says about the files."""
        rows = []
        for path in self.paths:
            try:
                status = os.stat(path)
            except OSError as error:
                raise ImageFileError(
                    f"'{path}' cannot be read: {error.strerror}."
                ) from error
            if not stat.S_ISREG(status.st_mode):
                raise ImageFileError(f"'{path}' is no regular file.")
            rows.append(
                [
                    path,
                    status.st_size,
                    status.st_ino,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                ]
            )
        return fingerprint(rows)

    def content(self) -> str:
        """Fingerprint the files' bytes and their names below the folder of all."""
        state = self.state()
        if state not in self._content:
            with ThreadPoolExecutor() as pool:
                digests = list(pool.map(file_digest, self.paths))
            names = [os.path.relpath(path, self.root) for path in self.paths]
            self._content = {state: fingerprint(list(zip(names, digests, strict=True)))}
        return self._content[state]


def fingerprint(value: Any) -> str:
    """Digest anything that a config can hold, by SHA-256."""
    text = json.dumps(value, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: str | os.PathLike) -> str:
    """Digest a file's bytes, by SHA-256."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def list_cells(
    benchmarks: Sequence[str],
    corruptions: dict[str, Sequence[str]],
    severities: Sequence[int],
) -> list[Cell]:
    """List the cells of benchmarks, in the order of the report.

    Args:
        benchmarks: The names of the benchmarks, as in :class:`Cell`.
        corruptions: The corruptions of every benchmark that has some.
        severities: The severities of every corruption.
    """
    cells = []
    for benchmark in benchmarks:
        if benchmark not in corruptions:
            cells.append(Cell(benchmark))
            continue
        for corruption in corruptions[benchmark]:
            cells += [Cell(benchmark, corruption, severity) for severity in severities]
    return cells
