"""Compare the tensors of a checkpoint with those of a model, by name and shape."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .names import note_unknown_prefix
from .reading import CheckpointError


@dataclass
class Differences:
    """Where a checkpoint's tensors and a model's are not the same; false if nowhere.

    Attributes:
        missing: The model's, not in the file.
        unexpected: The file's, not in the model, under their names in the file.
        resized: Sentences on the tensors of another shape.
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
            example = f"the model has no '{self.unexpected[0]}'"
        return (
            f'{example} ({len(self.missing)} missing, {len(self.unexpected)} '
            f'unexpected, {len(self.resized)} of another shape)'
        )


def compare_state_dicts(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    names_in_file: Mapping[str, str] | None = None,
) -> Differences:
    """Compare names and shapes; values are not looked at.

    Args:
        expected: The model's state dict, for example one on the ``meta`` device.
        found: The checkpoint's tensors, under the names that the model has for them.
        names_in_file: The names of these in the file, where they differ.
    """
    names_in_file = names_in_file or {name: name for name in found}
    return Differences(
        missing=[name for name in expected if name not in found],
        unexpected=[names_in_file[name] for name in found if name not in expected],
        resized=[
            f"'{names_in_file[name]}' is {tuple(found[name].shape)} in the file and "
            f'{tuple(tensor.shape)} in the model'
            for name, tensor in expected.items()
            if name in found and found[name].shape != tensor.shape
        ],
    )


def check_state_dict(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    file: str | os.PathLike,
    model: str,
) -> None:
    """Insist that a checkpoint has every tensor of a model, and no other.

    Args:
        expected: The model's tensors, as in :func:`compare_state_dicts`.
        found: The file's tensors, as in :func:`compare_state_dicts`.
        file: The checkpoint's name, for the message.
        model: The words that the message has for the model.

    Raises:
        CheckpointError: If they differ; the sentence names the first such tensor and
            counts the others.
    """
    differences = compare_state_dicts(expected, found)
    if differences:
        unknown = '' if set(expected) & set(found) else note_unknown_prefix(found)
        raise CheckpointError(f"'{file}' does not fit {model}: {differences}{unknown}.")
