"""Tell a whole checkpoint file from one that was cut off or has changed since."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import torch

from .reading import CheckpointError

_ARCHIVE = b'PK'


def check_whole(path: str | os.PathLike) -> None:
    """Compare every part of a file of ``torch.save`` with the checksum beside it.

    PyTorch writes these checksums (the CRC-32 of a zip archive) and does not look at
    them when it reads.

    Args:
        path: A file that ``torch.save`` wrote.

    Raises:
        CheckpointError: If the file is missing, empty, cut off, no archive, or if a
            part differs from its checksum.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"The checkpoint '{path}' does not exist.")
    try:
        if path.stat().st_size == 0:
            raise CheckpointError(f"The checkpoint '{path}' is empty.")
        with open(path, 'rb') as file:
            begins_as_archive = file.read(len(_ARCHIVE)) == _ARCHIVE
        if not zipfile.is_zipfile(path):
            reason = 'its end is missing' if begins_as_archive else 'it is no archive'
            raise CheckpointError(f"'{path}' is not a complete checkpoint ({reason}).")
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        # Python is content with some tables of contents that PyTorch cannot read.
        torch._C.PyTorchFileReader(str(path))
    except CheckpointError:
        raise
    # A damaged table of contents can raise anything.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"'{path}' is not a complete checkpoint ({reason})."
        ) from error
    if damaged is not None:
        raise CheckpointError(
            f"'{path}' has changed since it was written: its part '{damaged}' does not "
            'match its checksum.'
        )
