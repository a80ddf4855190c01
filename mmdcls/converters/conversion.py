"""What a converter did, compared with the model that the result is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mmdcls.engine.checkpoint import CheckpointError

from .files import Checkpoint
from .names import TASKS
from .reference_models import Reference

_NAMES_SHOWN = 8


@dataclass
class Differences:
    """Where tensors and the ones that a model has are not the same.

    Attributes:
        missing: The model's, not found.
        unexpected: Found, not the model's, under their names in the file.
        resized: Of another shape, as sentences.
    """

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.resized)

    def __str__(self) -> str:
        if self.resized:
            example = self.resized[0]
        elif self.missing:
            example = f"there is no '{self.missing[0]}'"
        else:
            example = f"'{self.unexpected[0]}' has no place in it"
        return (
            f'{example} ({len(self.missing)} missing, {len(self.unexpected)} '
            f'unexpected, {len(self.resized)} of another shape)'
        )


def compare(
    expected: Mapping[str, torch.Size],
    found: Mapping[str, Tensor],
    old_names: Mapping[str, str],
) -> Differences:
    """Compare names and shapes.

    Args:
        expected: Shapes by name.
        found: The tensors, by name.
        old_names: What the file calls them.
    """
    return Differences(
        missing=[name for name in expected if name not in found],
        unexpected=[old_names[name] for name in found if name not in expected],
        resized=[
            f"'{old_names[name]}' is {tuple(found[name].shape)} and should be "
            f'{tuple(shape)}'
            for name, shape in expected.items()
            if name in found and found[name].shape != shape
        ],
    )


@dataclass
class Conversion:
    """A converted checkpoint and how it came about.

    Attributes:
        checkpoint: What was read.
        task: ``'cls'``, ``'seg'`` or ``'det'``.
        reference: The model that our side of the conversion must fit.
        state_dict: The result.
        old_names: By the new names, what the file calls the tensors.
        differences: Between ``reference`` and what the file has for it.
        dropped: Names in the file that are left out on purpose.
        fresh: Names of the result that the file has no values for, on purpose.
        content: What to write, with ``state_dict`` in it.
        position_tensors: How many different position tensors there are.
        position_coordinates: How many numbers these hold.
        clamped: How many of these lay beyond the kernel.
    """

    checkpoint: Checkpoint
    task: str
    reference: Reference
    state_dict: dict[str, Tensor]
    old_names: dict[str, str]
    differences: Differences
    dropped: Sequence[str] = ()
    fresh: Sequence[str] = ()
    content: dict = field(default_factory=dict)
    position_tensors: int = 0
    position_coordinates: int = 0
    clamped: int = 0

    def check(self) -> None:
        """Refuse a conversion that does not explain every tensor.

        Raises:
            CheckpointError: Names a tensor and counts the others.
        """
        if self.differences:
            raise CheckpointError(
                f"'{self.checkpoint.path}' does not fit {self.reference.description} "
                f'({TASKS[self.task]}): {self.differences}.'
            )

    def print_summary(self, console: Console | None = None) -> None:
        """Print a table of what was loaded, renamed, left out and not explained."""
        differences = self.differences
        renamed = [f'{old} -> {new}' for new, old in self.old_names.items()]
        renamed = [line for line in renamed if len(set(line.split(' -> '))) == 2]
        loaded = (
            len(self.old_names) - len(differences.unexpected) - len(differences.resized)
        )
        rows = [
            ('loaded', loaded, [f'from {self.checkpoint.layout!r}']),
            ('renamed', len(renamed), renamed[:2]),
            ('positions', self.position_tensors, ['different tensors']),
            (
                'clamped',
                self.clamped,
                [f'of {self.position_coordinates} coordinates, to the kernel'],
            ),
            ('dropped', len(self.dropped), self.dropped),
            ('not loaded', len(self.fresh), self.fresh),
            ('missing', len(differences.missing), differences.missing),
            ('unexpected', len(differences.unexpected), differences.unexpected),
            ('of another shape', len(differences.resized), differences.resized),
        ]
        table = Table(title=f'{TASKS[self.task]}: {self.reference.description}')
        table.add_column('tensors')
        table.add_column('number', justify='right')
        table.add_column('which', overflow='fold')
        for label, count, details in rows:
            shown = [str(line) for line in details[:_NAMES_SHOWN]]
            if len(details) > _NAMES_SHOWN:
                shown.append(f'and {len(details) - _NAMES_SHOWN} more')
            table.add_row(label, str(count), '\n'.join(shown) if count else '')
        (console or Console()).print(table, markup=False)
