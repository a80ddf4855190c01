"""Read checkpoints as data where PyTorch's own reading of data cannot be trusted.

``torch.load(weights_only=True)`` runs code that is hidden in some files before PyTorch
2.6 (CVE-2025-32434), and could be made to corrupt memory before 2.10 (CVE-2026-24747).
"""

from __future__ import annotations

import logging
import mmap
import pickle
import sys
import uuid
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch._weights_only_unpickler import _get_allowed_globals

from mmdcls.compat import torch_is
from mmdcls.files import cache_folder, write_text

MARK_KEY = 'mmdcls_installation'
"""Where the ``meta`` of a checkpoint says which installation wrote it."""

ALLOWED: dict[str, Any] = {}
"""What a checkpoint may name besides what PyTorch allows, by its name in the file."""

_ARCHIVE = b'PK\x03\x04'
_warned = False


class ForeignNameError(pickle.UnpicklingError):
    """A checkpoint names something that no checkpoint needs."""

    def __init__(self, name: str) -> None:
        super().__init__(f'it holds {name}')
        self.name = name


class Unpickler(pickle._Unpickler):
    """Python's own unpickler, which makes and calls only what is on an allow-list."""

    stack: list

    def find_class(self, module: str, name: str) -> Any:
        """Return an object of the allow-list.

        Raises:
            ForeignNameError: If the object is not on it.
        """
        full_name = f'{module}.{name}'
        for allowed in (ALLOWED, _get_allowed_globals()):
            if full_name in allowed:
                return allowed[full_name]
        raise ForeignNameError(full_name)

    def load_build(self) -> None:
        """Fill an object with its state, but never a class or a function."""
        if callable(self.stack[-2]):
            raise pickle.UnpicklingError(f'it changes {self.stack[-2]!r}')
        super().load_build()  # type: ignore[misc]

    dispatch = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}  # type: ignore[dict-item]


def load_as_data(path: Path, map_location: str | torch.device | None) -> Any:
    """Read a file of ``torch.save``, and make only what checkpoints need.

    Args:
        path: The file.
        map_location: The device of the tensors, as in :func:`torch.load`.

    Raises:
        UnpicklingError: If something else is in the file, or, before PyTorch 2.6, if it
            is of a format from before PyTorch 1.6.
    """
    if not torch_is(2, 10):
        _warn_of_a_stranger(path)
    if torch_is(2, 6):
        return torch.load(path, map_location=map_location, weights_only=True)
    return load_archive(path, map_location)


def load_archive(path: Path, map_location: str | torch.device | None) -> Any:
    """Read a file of ``torch.save`` by :class:`Unpickler`.

    Args:
        path: The file, of the format that PyTorch writes since 1.6.
        map_location: The device of the tensors, as in :func:`torch.load`.

    Raises:
        UnpicklingError: If the file is of another format, or holds something that is
            not on the allow-list.
    """
    with open(path, 'rb') as file:
        is_archive = file.read(len(_ARCHIVE)) == _ARCHIVE
    if not is_archive:
        raise pickle.UnpicklingError(
            f'with PyTorch {torch.__version__}, only files of PyTorch 1.6 and later '
            'are read as data'
        )
    if 'constants.pkl' in _records(path):
        raise pickle.UnpicklingError('it is a program of TorchScript')
    return torch.load(
        path,
        map_location=map_location,
        pickle_module=sys.modules[__name__],
        weights_only=False,
    )


def _records(path: Path) -> list[str]:
    """Return the names of an archive's parts, as PyTorch and not as Python reads it."""
    reader: Any = torch._C.PyTorchFileReader(str(path))
    return reader.get_all_records()


def installation_mark() -> str | None:
    """Return what tells the checkpoints of this installation from those of others.

    It is a random text in the user's cache folder, made at the first call; None if it
    cannot be kept there.
    """
    path = cache_folder() / 'installation'
    try:
        if not path.is_file():
            write_text(path, uuid.uuid4().hex)
        return path.read_text(encoding='utf-8').strip() or None
    except OSError:
        return None


def mark(checkpoint: dict[str, Any]) -> None:
    """Note in a checkpoint's ``meta`` that this installation wrote it.

    From PyTorch 2.10 on, which warns of no file, nothing is noted.

    Args:
        checkpoint: What is about to be written.
    """
    if not torch_is(2, 10) and (own := installation_mark()):
        checkpoint.setdefault('meta', {})[MARK_KEY] = own


def _is_own(path: Path) -> bool:
    own = installation_mark()
    if own is None or path.stat().st_size == 0:
        return False
    with (
        open(path, 'rb') as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return content.find(own.encode()) >= 0


def _warn_of_a_stranger(path: Path) -> None:
    global _warned
    if _warned or _is_own(path):
        return
    _warned = True
    print_log(
        f"'{path}' was not written by this installation, and files can be made that "
        f'corrupt the memory of PyTorch {torch.__version__} (CVE-2026-24747, mended in '
        '2.10): read only files of people whom you trust, or .safetensors files. This '
        'is said once.',
        logger='current',
        level=logging.WARNING,
    )
