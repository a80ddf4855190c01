"""Find the newest checkpoint of a training that can be resumed from."""

from __future__ import annotations

import re
from pathlib import Path

from mmdcls.checkpoints import CheckpointError
from mmdcls.checkpoints.wholeness import check_whole

LAST_CHECKPOINT = 'last_checkpoint'
"""The file in which mmengine notes the path of the newest checkpoint."""

# More than any path has.
_LONGEST = 2**16


def newest_checkpoint(
    work_dir: Path, folder: Path, template: str
) -> tuple[Path | None, list[str]]:
    """Find the newest whole checkpoint of a training.

    The first choice is what ``last_checkpoint`` names, wherever the folder has been
    moved to since; then the next older ones. Where the note is of no use, the
    checkpoint of the highest number is taken for the newest.

    Args:
        work_dir: The folder of the training.
        folder: The folder of its checkpoints.
        template: The names of its checkpoints, with ``{}`` for epoch or iteration.

    Returns:
        The checkpoint, None if there is none, and a sentence on each thing that was
        passed over.
    """
    steps = _checkpoints(folder, template)
    named, passed_over = _noted(work_dir, folder, bool(steps))
    newest_first = [steps[step] for step in sorted(steps, reverse=True)]
    if named is not None:
        number = _step(named.name, template)
        newest_first = [named] + [
            path
            for path in newest_first
            # A higher number is of a training that was there before.
            if path.name != named.name
            and (number is None or (_step(path.name, template) or 0) < number)
        ]
    for path in newest_first:
        if path.is_dir():
            return path, passed_over
        try:
            check_whole(path)
            return path, passed_over
        except CheckpointError as error:
            passed_over.append(f'{str(error)[:-1]}: it is passed over.')
    return None, passed_over


def _noted(
    work_dir: Path, folder: Path, is_expected: bool
) -> tuple[Path | None, list[str]]:
    """Read the note; returns the path it stands for and what is wrong with it."""
    note = work_dir / LAST_CHECKPOINT
    useless = f"'{note}' is passed over: "
    try:
        with open(note, 'rb') as file:
            text = file.read(_LONGEST).decode().strip()
    except FileNotFoundError:
        return None, [f"'{note}' is missing."] if is_expected else []
    except (OSError, UnicodeDecodeError):
        return None, [useless + 'it cannot be read as the path of a checkpoint.']
    if not text or not text.isprintable():
        reason = 'it is empty' if not text else 'it is no path of a checkpoint'
        return None, [f'{useless}{reason}.']
    path = Path(text)
    # The first is where the training has it, also if all was moved or copied.
    for candidate in (folder / path.name, work_dir / path, path):
        if path.name and (candidate.is_file() or _is_sharded(candidate)):
            return candidate, []
    if _looks_like_checkpoint(path):
        return folder / path.name, []
    return None, [f"{useless}it names '{text[:80]}', which is no checkpoint."]


def _is_sharded(path: Path) -> bool:
    """Tell whether a path is a folder that a strategy such as DeepSpeed's wrote."""
    return path.is_dir() and path.suffix == '.pth'


def _looks_like_checkpoint(path: Path) -> bool:
    return path.suffix == '.pth'


def _checkpoints(folder: Path, template: str) -> dict[int, Path]:
    if not folder.is_dir():
        return {}
    found = ((_step(path.name, template), path) for path in folder.iterdir())
    return {step: path for step, path in found if step is not None}


def _step(name: str, template: str) -> int | None:
    """Return the epoch or iteration in a checkpoint's name."""
    front, _, end = template.partition('{}')
    match = re.fullmatch(f'{re.escape(front)}([0-9]{{1,18}}){re.escape(end)}', name)
    return int(match[1]) if match else None
