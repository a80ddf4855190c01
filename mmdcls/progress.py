"""Show progress bars to people who wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bars(description: str = '', **kwargs: Any) -> Progress:
    """Make progress bars with a description and how many of how many are done.

    Args:
        description: A format of Rich for a bar's description; by default the task's
            own description as it is.
        **kwargs: Further arguments of :class:`rich.progress.Progress`. By default the
            bars go to the standard error, where they are in no report's way.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    kwargs.setdefault('console', Console(stderr=True))
    return Progress(
        TextColumn(description or '{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        **kwargs,
    )


def one_bar_a_name(bars: Progress) -> Callable[[str, int, int], None]:
    """Make the function that tells a bar for each name how far its work has come.

    Args:
        bars: The bars, as :func:`progress_bars` makes them.

    Returns:
        A function of a name, how many are done, and how many there are.
    """
    tasks: dict[str, Any] = {}

    def show(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=total)
        bars.update(tasks[name], completed=done)

    return show
