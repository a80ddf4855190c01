"""Whether engines and techniques train what a plain run trains."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmdcls.checkpoints import read_checkpoint
from mmdcls.files import markdown_table

from .engine_runs import (
    ENGINES,
    MOMENTUM,
    REFERENCES,
    Engine,
    can_run,
    checkpoint_of,
    folder_of,
    train_all,
)


def compare_engines(
    folder: Path, engines: Sequence[Engine] = ENGINES
) -> list[dict[str, Any]]:
    """Train by each engine, and compare the weights with those of a plain run.

    Args:
        folder: Where the runs write their checkpoints and logs.
        engines: What to compare; those that others of :data:`ENGINES` go on from are
            run, too.

    Returns:
        A row for each engine: its ``name``, ``processes``, ``reference``, ``steps`` and
        ``tolerance``, whether it ``ran``, and then the largest difference of
        ``weights`` and ``positions``, as a share of the way that the farthest of them
        has come, and whether both are ``equal`` within the tolerance.
    """
    logging.getLogger('mmengine').setLevel(logging.ERROR)
    runnable = [engine for engine in engines if can_run(engine)]
    needed = {engine.start for engine in runnable} - {
        engine.name for engine in runnable
    }
    started = [engine for engine in ENGINES if engine.name in needed]
    train_all([*REFERENCES, *started, *runnable], folder)
    return [_row(engine, folder) for engine in engines]


def to_markdown(rows: Iterable[dict[str, Any]]) -> str:
    """Make a table of what :func:`compare_engines` gives."""
    header = ('engine', 'processes', 'compared with', 'weights', 'positions', 'at most')
    lines = [
        (
            row['name'],
            row['processes'],
            f'{row["reference"]}, {row["steps"]} steps',
            f'{row["weights"]:.1e}' if row['ran'] else f'needs {row["requires"]}',
            f'{row["positions"]:.1e}' if row['ran'] else '',
            f'{row["tolerance"]:.0e}' + ('' if row['equal'] else ' **exceeded**'),
        )
        for row in rows
    ]
    return markdown_table(header, lines)


def _row(engine: Engine, folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {
        'name': engine.name,
        'processes': engine.processes,
        'reference': engine.reference,
        'steps': engine.steps,
        'tolerance': engine.tolerance,
        'requires': engine.requires,
        'ran': can_run(engine),
        'equal': True,
    }
    if not row['ran']:
        return row
    found = _weights(checkpoint_of(engine.name, folder, engine.iterations))
    expected, start = _reference(engine, folder)
    if found.keys() != expected.keys():
        return {
            **row,
            'weights': math.inf,
            'positions': math.inf,
            'equal': False,
        }
    for kind, belongs in (('weights', False), ('positions', True)):
        names = [name for name in found if name.endswith('positions') is belongs]
        moved = max(float((expected[n] - start[n]).abs().max()) for n in names)
        apart = max(float((found[n] - expected[n]).abs().max()) for n in names)
        row[kind] = apart / moved
        # Not a number is not equal, either.
        row['equal'] = row['equal'] and row[kind] <= engine.tolerance
    return row


def _reference(
    engine: Engine, folder: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights to compare with, and those that they started from."""
    name = engine.reference.removeprefix('average of ')
    start = _weights(folder_of(name, folder) / 'start.pth')
    expected = _weights(checkpoint_of(name, folder, engine.steps))
    if name != engine.reference:
        # The average starts from the first step's weights.
        first = _weights(checkpoint_of(name, folder, 1))
        expected = {n: torch.lerp(first[n], expected[n], MOMENTUM) for n in first}
    return expected, start


def _weights(path: Path) -> dict[str, Tensor]:
    return read_checkpoint(str(path))['state_dict']
