"""Progress bars, for people who wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bars(description: str = '', **kwargs: Any) -> Progress:
    """Rich's progress bars, with a description and how many of how many are done.

    Args:
        description: A format of Rich; by default the task's own description.
        **kwargs: As :class:`rich.progress.Progress` takes them. By default the bars go
            to the standard error, where they are in no report's way.
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
