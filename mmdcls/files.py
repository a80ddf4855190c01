"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
