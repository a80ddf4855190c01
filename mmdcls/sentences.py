"""Find the sentence that tells a user what ended a run, if it is for a user to mend.

Kept free of torch and of what is not installed with mmdcls: errors of these are known
by their texts.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

from .errors import MmdclsError

EXTRAS = {
    'openmmlab': ('mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg'),
    'tools': ('matplotlib', 'rich'),
    'mini': ('skimage', 'sklearn'),
    'robustness': ('timm', 'imagecorruptions'),
    'deploy': ('onnx', 'onnxruntime', 'onnxscript', 'safetensors'),
}
"""The extras of setup.py, with the modules that they bring."""

REFUSALS = (
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)
"""Why a system refuses files: permissions, a full disk, a file in a folder's place."""

_FROM_A_WORKER = re.compile(r'Caught \w+ in \w+ (worker process|process|replica) \d+')
_MEMORY = re.compile(r'tried to allocate (\d+) bytes')
_GPU_MEMORY = re.compile(r'CUDA out of memory.*?allocate ([\d.]+ \w+)', re.DOTALL)
_WORKER = re.compile(
    r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) '
    r'(?:is killed by signal: ([^.]+)|exited unexpectedly)'
)
_FEWER = (
    'a smaller batch (`train_dataloader.batch_size`, `test_dataloader.batch_size`), '
    'smaller images or fewer workers need less'
)


def find_sentence(error: BaseException | None) -> str | None:
    """Return the sentence on the latest error of a chain that a user can mend.

    Args:
        error: What ended the run; the errors that it came of are looked at, too.

    Returns:
        None if there is none: then nobody foresaw the error.
    """
    while error is not None:
        for find in _FINDERS:
            if sentence := find(error):
                return sentence
        error = error.__cause__ or error.__context__
    return None


def _of_mmdcls(error: BaseException) -> str | None:
    if not isinstance(error, MmdclsError):
        return None
    text = str(error)
    if _FROM_A_WORKER.match(text):
        # The text is a traceback, whose last lines are the error's own.
        name = type(error).__name__
        text = text.rpartition(f'{name}: ')[2]
    return text


def _of_the_system(error: BaseException) -> str | None:
    if isinstance(error, FileExistsError) and os.path.isfile(error.filename or ''):
        return f"'{error.filename}' is a file, and a folder is needed there."
    if not isinstance(error, OSError) or error.errno not in REFUSALS:
        return None
    # Of a renaming, the second name is the user's, the first a temporary one.
    path = error.filename2 or error.filename
    name = f"'{path}'" if path else 'a file'
    return f'The system refuses {name}: {error.strerror}.'


def _of_packages(error: BaseException) -> str | None:
    if not isinstance(error, ModuleNotFoundError):
        return None
    package = (error.name or '').partition('.')[0]
    for extra, modules in EXTRAS.items():
        if package in modules:
            return (
                f'The package {package} is not installed; pip install '
                f"'mmdcls[{extra}]' brings it."
            )
    return None


def _of_memory(error: BaseException) -> str | None:
    text = str(error)
    if found := _GPU_MEMORY.search(text):
        return f'The GPU has no {found[1]} of memory left: {_FEWER}.'
    if found := _MEMORY.search(text):
        size = int(found[1]) / 2**30
        return f'There are no {size:,.1f} GiB of memory left: {_FEWER}.'
    if isinstance(error, MemoryError) or 'torage size calculation overflow' in text:
        return f'There is not enough memory ({" ".join(text.split())}): {_FEWER}.'
    return None


def _of_workers(error: BaseException) -> str | None:
    found = _WORKER.search(str(error)) if isinstance(error, RuntimeError) else None
    if found:
        how = f'was killed ({found[2]})' if found[2] else 'ended unexpectedly'
        return (
            f'A process that loads data (pid {found[1]}) {how}; often the memory, or '
            'the shared memory in /dev/shm, was full: fewer num_workers need less.'
        )
    if type(error).__name__ == 'BrokenProcessPool':
        return (
            'A process that makes images was killed; often the memory was full: fewer '
            '`workers` need less.'
        )
    return None


def _of_writing(error: BaseException) -> str | None:
    """Recognise a full disk in what torch.save says of it."""
    text = str(error)
    if isinstance(error, RuntimeError) and 'PytorchStreamWriter failed writing' in text:
        return 'A checkpoint cannot be written to its end: the disk may be full.'
    return None


_FINDERS: tuple[Callable[[BaseException], str | None], ...] = (
    _of_mmdcls,
    _of_the_system,
    _of_packages,
    _of_memory,
    _of_workers,
    _of_writing,
)
