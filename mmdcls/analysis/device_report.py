"""Everything about speed that a GPU is needed for, the operators and whole models."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mmdcls.errors import ArgumentError
from mmdcls.ops.benchmark.complete import write_complete_report
from mmdcls.ops.benchmark.layers import default_settings
from mmdcls.ops.benchmark.section import Section
from mmdcls.ops.benchmark.sections import SECTIONS

from .model_sections import PAIRS, QUICK_PAIRS, model_sections
from .reports import silence_mmengine

# Whether the results are right, and what a user asks first, come first; what was chosen
# is known in the end.
_ORDER = (
    'Kernels compiled beforehand',
    'Parity of the backends',
    'Parity of construction',
    'Parity of blocks on NCHW maps',
    'Layers against 7x7',
    'Whole models',
    'CUDA graphs',
    'Backbones from CUDA graphs',
    'Formats of the maps of a block',
    'Backends',
    'Whole models, compiled',
    'Whole models in other formats',
    'Peak memory',
    'Construction',
    'Measured choices',
    'Blocks of the Triton kernels',
)


def all_sections(quick: bool = False) -> dict[str, Section]:
    """Return the sections by their titles, the most important one first.

    Args:
        quick: Whether to use small models, which are not compiled in earnest.
    """
    if quick:
        sections = SECTIONS | model_sections(QUICK_PAIRS, 'eager')
    else:
        sections = SECTIONS | model_sections(PAIRS)
    return {title: sections[title] for title in _ORDER}


def write_device_report(
    out: str, minutes: float, only: Sequence[str] = (), quick: bool = False
) -> bool:
    """Write the report on the GPU, or on the CPU where there is none.

    Args:
        out: Path of the report without its suffix.
        minutes: The time that it may take.
        only: Titles of the sections to run; by default all.
        quick: Whether to use few channels and small models, only to see it run.

    Returns:
        Whether nothing has failed.

    Raises:
        ArgumentError: If a title of ``only`` is unknown.
    """
    silence_mmengine()
    torch.manual_seed(0)
    sections = all_sections(quick)
    unknown = [title for title in only if title not in sections]
    if unknown:
        raise ArgumentError(
            f'`only` names {unknown[0]!r}, which is no section; accepted are '
            f'{", ".join(sections)}.'
        )
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    settings = default_settings(device, quick)
    return write_complete_report(settings, out, minutes, sections, only)
