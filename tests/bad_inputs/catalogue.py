"""All cases, and what they need."""

from dataclasses import replace
from pathlib import Path

from bad_inputs import (
    annotations,
    arguments,
    checkpoints,
    configs,
    data,
    environment,
    materials,
    options,
    reports,
)

THEMES = (
    configs,
    options,
    arguments,
    data,
    annotations,
    checkpoints,
    reports,
    environment,
)
CASES = [
    replace(case, theme=theme.__name__.rpartition('.')[2])
    for theme in THEMES
    for case in theme.rows()
]


def write_materials(folder: Path) -> None:
    """Write the sound files and the broken ones of every theme."""
    materials.write_materials(folder)
    for theme in THEMES:
        theme.write(folder)
