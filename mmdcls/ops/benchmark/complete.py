"""The complete report: everything about speed that a device is needed for."""

import contextlib
import gc
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mmdcls.errors import ArgumentError, MmdclsError
from mmdcls.files import markdown_facts, markdown_table, write_json, write_text
from mmdcls.ops.backends import tuning
from mmdcls.ops.backends.gpu import triton_version

from .layers import Settings
from .section import Section
from .timing import describe_device

FAILED = 'FAILED'
"""What the text of a result or a note begins with if something is wrong."""

BEGIN = '<!-- Measured on a GPU: begin -->'
END = '<!-- Measured on a GPU: end -->'
"""Between these lines :func:`insert_report` writes."""


def write_complete_report(
    settings: Settings,
    out: str,
    minutes: float,
    sections: Mapping[str, Section],
    only: Sequence[str] = (),
) -> bool:
    """Write ``OUT.md`` and ``OUT.json``, and write them again after every row.

    A section that fails says so, and those after it run.

    Args:
        settings: The settings of what is timed, and how.
        out: Path of the report without its suffix.
        minutes: The time that it may take; what this does not suffice for is left out,
            and the report says so.
        sections: The sections by their titles, the most important one first.
        only: The titles of those to run; by default all.

    Returns:
        Whether nothing has failed.
    """
    end = time.monotonic() + 60 * minutes
    report: dict[str, Any] = {'facts': _facts(settings, minutes), 'sections': []}
    lost = False
    for title, section in sections.items():
        if only and title not in only:
            continue
        part = {'title': title, 'rows': [], 'note': '', 'seconds': 0.0}
        part['in_documents'] = section.in_documents
        report['sections'].append(part)
        start = time.monotonic()
        if section.needs_gpu and settings.device.type != 'cuda':
            part['note'] = 'Left out: it needs a GPU.'
        elif lost:
            part['note'] = 'Left out: the GPU answers no more after what failed above.'
        else:
            lost = not _fill(part, section, settings, end, out, report)
        part['seconds'] = round(time.monotonic() - start, 1)
        print(f'{title}: {part["seconds"]:.0f} s {part["note"]}', flush=True)
        _write(out, report)
    return FAILED not in str(report)


def _fill(part, section, settings, end, out, report):
    """Take rows until time is up; tell whether the device still answers."""
    try:
        rows = section.rows(settings)
        while end - time.monotonic() >= section.seconds:
            row = next(rows, None)
            if row is None:
                return True
            part['rows'].append(row)
            _write(out, report)
        part['note'] = f'Cut after {len(part["rows"])} rows: the time was up.'
    except Exception as error:
        part['note'] = failure(error)
        if not isinstance(error, MmdclsError):
            traceback.print_exc()
    return _answers(settings.device)


def failure(error: Exception) -> str:
    """Tell in one line what went wrong, and free the memory that it left behind."""
    line = next(iter(str(error).strip().splitlines()), '')
    # Its frames hold the tensors that did not fit.
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()
    if isinstance(error, MmdclsError):
        return f'{FAILED}: {line}'
    return f'{FAILED}: {type(error).__name__}: {line}'


def _answers(device):
    """Tell whether a device still works, which it does not after a fault of memory."""
    if device.type != 'cuda':
        return True
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return False
    return True


def _write(out, report):
    write_text(f'{out}.md', to_markdown(report))
    write_json(f'{out}.json', report)


def to_markdown(report: dict, level: int = 1, documents: bool = False) -> str:
    """Format the report as Markdown tables.

    Args:
        report: The report, as it is in the JSON file.
        level: The level of its heading.
        documents: Whether to leave out the sections that are too long for a document.
    """
    title = '#' * level
    parts = [f'{title} Measured on a device\n', markdown_facts(report['facts'])]
    for section in report['sections']:
        if documents and not section['in_documents']:
            continue
        parts.append(f'{title}# {section["title"]}\n')
        if section['note']:
            parts.append(f'{section["note"]}\n')
        if section['rows']:
            header = list(dict.fromkeys(key for row in section['rows'] for key in row))
            body = ([row.get(key, '') for key in header] for row in section['rows'])
            parts.append(markdown_table(header, body))
    return '\n'.join(parts)


def insert_report(report: Any, document: Path) -> None:
    """Write a report's tables between two lines of a document, :data:`BEGIN` and after.

    Args:
        report: The report, as it is in the JSON file.
        document: A Markdown file.

    Raises:
        ArgumentError: If the lines are not there, or if ``report`` is no report.
    """
    if not document.is_file():
        raise ArgumentError(f"'{document}' is no file to write tables into.")
    text = document.read_text(encoding='utf-8')
    before, begin, rest = text.partition(f'{BEGIN}\n')
    _, end, after = rest.partition(f'{END}\n')
    if not (begin and end):
        raise ArgumentError(f"'{document}' has no lines '{BEGIN}' and '{END}'.")
    try:
        tables = to_markdown(report, level=3, documents=True)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArgumentError(
            'The JSON file to insert is no report of tools/analysis_tools/'
            'device_report.py.'
        ) from error
    write_text(document, f'{before}{begin}\n{tables}\n{end}{after}')


def _facts(settings: Settings, minutes: float) -> dict:
    facts = {
        **describe_device(settings.device),
        'Triton': triton_version() or 'none',
        'repetitions': settings.repetitions,
        'minutes at most': minutes,
    }
    if settings.device.type == 'cuda':
        properties = torch.cuda.get_device_properties(settings.device)
        facts |= {
            'compute capability': f'{properties.major}.{properties.minor}',
            'multiprocessors': properties.multi_processor_count,
            'memory, GB': round(properties.total_memory / 1e9),
            'CUDA': torch.version.cuda,
            'cuDNN': torch.backends.cudnn.version(),
            'file of measured choices': tuning.cache_file(settings.device).name,
        }
    return facts
