"""What a converter did, compared with the model that the result is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from torch import Tensor

from mmdcls.checkpoints.comparison import Differences
from mmdcls.checkpoints.reading import CheckpointError

from .checkpoint_files import Checkpoint
from .names import TASKS
from .reference_models import Reference

_NAMES_SHOWN = 8


@dataclass
class PositionChanges:
    """What a conversion found and did to positions, each shared one counted once.

    Attributes:
        tensors: The number of different position tensors.
        coordinates: The number of coordinates in these.
        beyond: The number of coordinates that lay beyond the kernel.
        farthest: The distance of the farthest one from the kernel, in pixels.
        clamped: Whether they were clamped to the kernel.
        swapped: Whether the two axes changed places.
    """

    tensors: int = 0
    coordinates: int = 0
    beyond: int = 0
    farthest: float = 0.0
    clamped: bool = False
    swapped: bool = False

    def describe_tensors(self) -> str:
        """Say what ``tensors`` counts, and whether their axes were swapped."""
        return f'different tensors{", rows and columns swapped" * self.swapped}'

    def describe_beyond(self) -> str:
        """Say how far beyond the kernel what ``beyond`` counts was, and is."""
        done = 'clamped to it' if self.clamped else 'kept as they are'
        return (
            f'of {self.coordinates} coordinates, by up to {self.farthest:.2g} pixels; '
            f'{done}'
        )


@dataclass
class Conversion:
    """A converted checkpoint and how it came about.

    Attributes:
        checkpoint: The checkpoint that was read.
        task: ``'cls'``, ``'seg'`` or ``'det'``.
        reference: The model that our side of the conversion must fit.
        state_dict: The result.
        old_names: The file's names of the tensors, by their new names.
        differences: Between ``reference`` and what the file has for it.
        dropped: The names in the file that are left out on purpose.
        fresh: The names of the result that the file has no values for, on purpose.
        content: The checkpoint to write, with ``state_dict`` in it.
        positions: The facts on positions, and what became of these.
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
    positions: PositionChanges = field(default_factory=PositionChanges)

    def check(self) -> None:
        """Refuse a conversion that does not explain every tensor.

        Raises:
            CheckpointError: If it is not whole; the sentence names a tensor and counts
                the others.
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
            ('positions', self.positions.tensors, [self.positions.describe_tensors()]),
            (
                'beyond the kernel',
                self.positions.beyond,
                [self.positions.describe_beyond()],
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
