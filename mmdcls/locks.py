"""Keep two runs from writing into one folder at a time."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mmdcls.errors import MmdclsError

try:
    import fcntl
except ImportError:  # Windows, where folders are not guarded.
    fcntl = None  # type: ignore[assignment]

LOCK = '.mmdcls.lock'
"""The name of the file by which a folder is held; it says who holds it."""


class InUseError(MmdclsError, RuntimeError):
    """A folder that another run is writing into."""


@contextmanager
def held(folder: str | os.PathLike) -> Iterator[None]:
    """Hold a folder for this process alone; it is made where it is missing.

    The system lets go of it when the process ends, however it ends: what a killed one
    leaves is no obstacle. Processes that were forked off hold nothing.

    Args:
        folder: The folder.

    Raises:
        InUseError: If another process holds it; the sentence says which one.
        OSError: If the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    path = folder / LOCK
    file = _take(path)
    try:
        file.truncate(0)
        file.write(f'{os.getpid()} on {socket.gethostname()}')
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _take(path: Path) -> IO[str]:
    """Open and lock the file, which nobody has removed meanwhile."""
    while True:
        file = open(path, 'a+')  # noqa: SIM115, the caller closes it.
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            owner = file.read() or 'unknown'
            file.close()
            raise InUseError(
                f"'{path.parent}' is in use by process {owner}: wait for its end, or "
                'name another folder.'
            ) from error
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP):
                return file  # A file system without locks; nothing can be guarded.
            file.close()
            raise
        file.close()
