"""Compare what a checkpoint file declares with its size, before anything is loaded.

A file of a few kilobytes can ask for any amount of memory: its archive may be
compressed, its storages and tensors may claim to be larger than what is there. What
``torch.save`` writes is never compressed and holds every value it declares.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

SMALL = 2**24
"""A tensor may repeat the values of its storage up to this number of elements."""

_ARCHIVE = b'PK\x03\x04'
# Rebuild a tensor from (storage, offset, size, stride, ...), and wrap such a tensor.
_TENSOR_FUNCTIONS = ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_tensor_v3')
_WRAPPERS = (
    '_rebuild_parameter',
    '_rebuild_parameter_with_state',
    '_rebuild_from_type_v2',
)
_BYTES_PER_VALUE = {
    'DoubleStorage': 8,
    'LongStorage': 8,
    'ComplexFloatStorage': 8,
    'ComplexDoubleStorage': 16,
    'FloatStorage': 4,
    'IntStorage': 4,
    'HalfStorage': 2,
    'BFloat16Storage': 2,
    'ShortStorage': 2,
}


class DeclaredSizeError(ValueError):
    """A file that asks for more memory than it has values for."""


def check_declared_sizes(path: Path) -> None:
    """Refuse a file of ``torch.save`` that declares more than it holds.

    Needs no more memory than a small multiple of the file's pickled part.

    Raises:
        DeclaredSizeError: If it does; the message says what in the file is larger than
            the file.
        Exception: If the file is no whole checkpoint, of any kind.
    """
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        _check_archive(path, size)
    else:
        with open(path, 'rb') as file:
            if file.read(len(_ARCHIVE)) == _ARCHIVE:
                raise ValueError('the end of the archive is missing')
            file.seek(0)
            _check_old_format(file, size)


def _check_archive(path: Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any(name.endswith('/constants.pkl') for name in names):
            return  # TorchScript, which torch.load refuses before it reads anything.
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DeclaredSizeError(
                    f"its part '{entry.filename}' is compressed, which torch.save "
                    'never does'
                )
        total = sum(entry.file_size for entry in entries)
        if total > size:
            raise DeclaredSizeError(
                f'its parts have {total} bytes in all, and the file has {size}'
            )
        held = {
            entry.filename.split('/data/', 1)[1]: entry.file_size
            for entry in entries
            if '/data/' in entry.filename
        }
        for entry in entries:
            if entry.filename.endswith('/data.pkl'):
                with archive.open(entry) as file:
                    storages = _Declarations(file).read()
                for key, declared in storages.items():
                    if declared > held.get(key, 0):
                        raise DeclaredSizeError(
                            f"its storage '{key}' declares {declared} bytes and has "
                            f'{held.get(key, 0)}'
                        )


def _check_old_format(file: IO[bytes], size: int) -> None:
    """Check the format of PyTorch before 1.6: several pickles, then the storages."""
    for _ in ('magic number', 'protocol version', 'system'):
        _Declarations(file).read()
    total = sum(_Declarations(file).read().values())
    if total > size:
        raise DeclaredSizeError(
            f'its storages declare {total} bytes in all, and the file has {size}'
        )


class _Thing:
    """Stands in for whatever a pickle names; it may be called, filled and changed.

    A pickle calls classes and functions alike, so each name becomes a class of its own,
    whose ``__new__`` looks at what the real one would have been called with.
    """

    storage_size: int | None = None
    """Elements, of a storage."""

    def __new__(cls, *args: object, **kwargs: object) -> _Thing:
        """Look at the arguments of what builds a tensor or an array."""
        name = cls.__name__
        if name in _TENSOR_FUNCTIONS:
            _check_tensor(*args[:3])
        elif name.startswith('_rebuild') and name not in _WRAPPERS:
            raise DeclaredSizeError(
                f"it holds a tensor of another kind than a dense one ('{name}')"
            )
        elif name in ('_reconstruct', 'ndarray') and _elements(args) > SMALL:
            raise DeclaredSizeError('it declares an array larger than the file')
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> _Thing:
        """Stand in for the call of what a pickle has built."""
        return _Thing()

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Take an item of a list."""

    def extend(self, values: object) -> None:
        """Take items of a list."""

    def add(self, value: object) -> None:
        """Take an item of a set."""


def _check_tensor(storage: object, offset: object, size: object) -> None:
    values = getattr(storage, 'storage_size', None)
    elements = _elements([size])
    if values is not None and elements > max(values, SMALL):
        raise DeclaredSizeError(
            f'it declares a tensor of {elements} elements and has {values} values for '
            'it'
        )


def _elements(shapes: Iterable[object]) -> int:
    """Return the largest number of elements that one of some shapes stands for."""
    return max(
        (
            math.prod(shape)
            for shape in shapes
            if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)
        ),
        default=0,
    )


class _Declarations(pickle.Unpickler):
    """Reads which storages a pickle declares; builds and imports nothing."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding='utf-8')
        self.storages: dict[str, int] = {}

    def read(self) -> dict[str, int]:
        """Go through one pickle; bytes by the storages' keys."""
        self.load()
        return self.storages

    def find_class(self, module: str, name: str) -> type[_Thing]:
        """Return a stand-in for what a pickle asks for, with its name."""
        return type(name, (_Thing,), {})

    def persistent_load(self, reference: object) -> _Thing:
        """Note a storage: ``('storage', type, key, device, elements, ...)``."""
        if not isinstance(reference, tuple) or len(reference) < 5:
            return _Thing()
        _, kind, key, _, elements = reference[:5]
        width = _BYTES_PER_VALUE.get(getattr(kind, '__name__', ''), 1)
        self.storages[str(key)] = int(elements) * width
        storage = _Thing()
        storage.storage_size = int(elements)
        return storage
