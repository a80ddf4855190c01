"""Look at folders."""

from __future__ import annotations

import os

from .report import Report


def folders_exist(report: Report, *folders: str) -> bool:
    """Tell whether all are folders, and report those that are not."""
    missing = [folder for folder in folders if not os.path.isdir(folder)]
    for folder in missing:
        report.add(folder, 'is no folder')
    return not missing


def is_file_up_to(path: str, size: int) -> bool:
    """Tell whether it is a file of this machine with up to so many bytes."""
    return os.path.isfile(path) and os.path.getsize(path) <= size


def list_files(folder: str, suffixes: str | tuple[str, ...]) -> list[str]:
    """Every file below ``folder`` whose name ends so, in any case, sorted."""
    suffixes = (suffixes,) if isinstance(suffixes, str) else suffixes
    suffixes = tuple(suffix.lower() for suffix in suffixes)
    return sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(suffixes)
    )


def list_folders(folder: str) -> list[str]:
    """The folders in ``folder``, sorted, as mmpretrain ranks classes."""
    return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
