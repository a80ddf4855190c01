"""Files that are whole or not there, and the forms that reports have."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name to write to; it takes the place of ``path`` at the end.

    Missing folders are made. After an error nothing is left of the temporary file, and
    ``path`` is as it was. The name ends in ``.tmp``, so that nobody takes what a killed
    process left for a finished file.

    Raises:
        OSError: If ``path`` cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: object) -> None:
    """Write ``content``; a file that exists is replaced only when done.

    Raises:
        OSError: If ``path`` cannot be written.
    """
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + '\n')


def markdown_table(header: Sequence, rows: Iterable[Sequence]) -> str:
    """A Markdown table; it ends in a line break."""
    cells = [header, ['---'] * len(header), *rows]
    return ''.join('| ' + ' | '.join(map(str, row)) + ' |\n' for row in cells)


def markdown_facts(facts: dict) -> str:
    """A Markdown list of names and values; it ends in a line break."""
    return ''.join(f'- {name}: {value}\n' for name, value in facts.items())
