"""What a section of a complete report is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .layers import Settings

Rows = Iterator[dict]
"""Flat dicts, one column of a table for each key. Times are in milliseconds."""


@dataclass(frozen=True)
class Section:
    """A part of a complete report.

    Attributes:
        rows: Function of the settings that gives the rows one by one, the most
            important ones first.
        needs_gpu: Whether it is left out on a CPU.
        seconds: What a row may take on a GPU, its compilation included; a row that
            there is less time for is left out.
        in_documents: Whether docs/operators.md takes the table in.
    """

    rows: Callable[[Settings], Rows]
    needs_gpu: bool = False
    seconds: float = 5.0
    in_documents: bool = True
