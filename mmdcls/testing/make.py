"""Makes the mini data sets: all of one, or nothing of it, is ever in its place."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mmdcls.errors import ArgumentError, MmdclsError

from . import ade20k, coco, imagenet

MINI_DATASETS: dict[str, ModuleType] = {
    'ade20k': ade20k,
    'coco': coco,
    'imagenet': imagenet,
}
"""Name to module: ``FOLDER``, ``DEFAULT_COUNTS``, ``SMALLEST_COUNT`` and ``write``."""

MANIFEST = 'mini.json'
"""Written last: a folder that holds it is complete."""

# Raised whenever the images of a seed change.
_VERSION = 1
_TOOL = 'mmdcls make_mini'


class MiniDataError(MmdclsError, OSError):
    """Mini data that cannot be written."""


@dataclass(frozen=True)
class MiniDataset:
    """A mini data set on disk.

    Attributes:
        name: key of :data:`MINI_DATASETS`.
        folder: where it is.
        counts: images of each split.
        size: of all files, in bytes.
        written: False where a complete one with the same settings was left alone.
    """

    name: str
    folder: Path
    counts: dict[str, int]
    size: int
    written: bool


def make_mini(
    out_dir: str | Path,
    names: Iterable[str] = tuple(MINI_DATASETS),
    seed: int = 0,
    train: int | None = None,
    val: int | None = None,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[MiniDataset]:
    """Write mini data sets, each into a folder of its own below ``out_dir``.

    A data set is written into a hidden folder next to its place and moved there when
    complete. One that is complete with the same settings is left alone; one that this
    function made with other settings, or that was damaged since, is replaced.

    Args:
        out_dir: made if missing.
        names: keys of :data:`MINI_DATASETS`.
        seed: of all images, 0 or more.
        train: training images of each data set; None is its own default.
        val: the same for validation.
        progress: called with (name, images done, images in all).

    Returns:
        The data sets that lie there now, in the order of ``names``.

    Raises:
        ArgumentError: an unknown name, a negative seed or too few images.
        MiniDataError: a folder is in the way that this function did not make, or
            that holds files which it did not write; it is left as it is.
        MiniDataError: ``out_dir`` cannot be written to.
    """
    names = list(dict.fromkeys(names))
    out_dir = Path(out_dir)
    if seed < 0:
        raise ArgumentError(f'seed must be 0 or more, got {seed}')
    counts = {name: _choose_counts(name, train, val) for name in names}
    for name in names:
        _refuse_foreign_folder(out_dir / MINI_DATASETS[name].FOLDER)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MiniDataError(
            f'out_dir {str(out_dir)!r} cannot be made: {error.strerror}'
        ) from error
    return [_make(out_dir, name, seed, counts[name], progress) for name in names]


def _choose_counts(name: str, train: int | None, val: int | None) -> dict[str, int]:
    if name not in MINI_DATASETS:
        raise ArgumentError(
            f'unknown mini data set {name!r}, expected one of '
            f'{", ".join(MINI_DATASETS)}'
        )
    module = MINI_DATASETS[name]
    counts = dict(module.DEFAULT_COUNTS)
    for split, wanted in (('train', train), ('val', val)):
        if wanted is not None:
            counts[split] = wanted
        if counts[split] < module.SMALLEST_COUNT:
            raise ArgumentError(
                f'{split} must be at least {module.SMALLEST_COUNT} for {name}, '
                f'got {counts[split]}'
            )
    return counts


def _make(
    out_dir: Path,
    name: str,
    seed: int,
    counts: dict[str, int],
    progress: Callable[[str, int, int], None],
) -> MiniDataset:
    module = MINI_DATASETS[name]
    place = out_dir / module.FOLDER
    settings = {'version': _VERSION, 'name': name, 'seed': seed, 'counts': counts}
    written = not _is_complete(place, settings)
    if written:
        building = out_dir / f'.{module.FOLDER}.{os.getpid()}'
        try:
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            module.write(building, seed, counts, _counter(name, counts, progress))
            manifest = {'tool': _TOOL, 'settings': settings, 'files': _hash(building)}
            (building / MANIFEST).write_text(json.dumps(manifest, indent=1))
            _move_into_place(building, place)
        except OSError as error:
            if isinstance(error, MiniDataError):
                raise
            raise MiniDataError(
                f'mini data set {name} cannot be written to {str(place)!r}: {error}'
            ) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
    size = sum(path.stat().st_size for path in place.rglob('*') if path.is_file())
    return MiniDataset(name, place, counts, size, written)


def _counter(
    name: str, counts: dict[str, int], progress: Callable[[str, int, int], None]
) -> Callable[[], None]:
    done, total = 0, sum(counts.values())
    progress(name, 0, total)

    def advance() -> None:
        nonlocal done
        done += 1
        progress(name, done, total)

    return advance


def _move_into_place(building: Path, place: Path) -> None:
    _refuse_foreign_folder(place)
    if place.exists():
        old = building.with_name(f'{building.name}.old')
        place.rename(old)
        building.rename(place)
        shutil.rmtree(old)
    else:
        building.rename(place)


def _hash(folder: Path) -> dict[str, str]:
    """Return relative paths with the SHA-256 of every file but the manifest."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and path.relative_to(folder).as_posix() != MANIFEST
    }


def _read_manifest(place: Path) -> dict | None:
    try:
        manifest = json.loads((place / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    made_here = isinstance(manifest, dict) and manifest.get('tool') == _TOOL
    return manifest if made_here else None


def _is_complete(place: Path, settings: dict) -> bool:
    manifest = _read_manifest(place)
    return (
        manifest is not None
        and manifest.get('settings') == settings
        and manifest.get('files') == _hash(place)
    )


def _refuse_foreign_folder(place: Path) -> None:
    if not os.path.lexists(place):
        return
    manifest = _read_manifest(place)
    if manifest is None:
        raise MiniDataError(
            f'{str(place)!r} exists and was not made by make_mini: choose another '
            'out_dir, or move it away'
        )
    foreign = sorted(set(_hash(place)) - set(manifest.get('files', ())))
    if foreign:
        raise MiniDataError(
            f'{str(place)!r} holds files that make_mini did not write (for instance '
            f'{foreign[0]!r}): move them away'
        )
