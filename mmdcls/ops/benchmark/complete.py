"""The complete report: everything about the operators that a device is needed for."""

import time
import traceback
from typing import Any

import torch

from mmdcls.files import markdown_facts, markdown_table, write_json, write_text
from mmdcls.ops.backends import tuning

from .layers import Settings
from .sections import SECTIONS
from .timing import describe_device


def write_complete_report(settings: Settings, out: str, minutes: float) -> bool:
    """Write ``OUT.md`` and ``OUT.json``, whole sections as they are done.

    A section that fails says so, and those after it run.

    Args:
        settings: The settings of what is timed, and how.
        out: Path of the report without its suffix.
        minutes: The time that it may take; what this does not suffice for is left out,
            and the report says so.

    Returns:
        Whether nothing has failed.
    """
    end = time.monotonic() + 60 * minutes
    report: dict[str, Any] = {'facts': _facts(settings, minutes), 'sections': []}
    for title, (rows_of, needs_gpu) in SECTIONS.items():
        section: dict[str, Any] = {'title': title, 'rows': [], 'note': ''}
        report['sections'].append(section)
        start = time.monotonic()
        try:
            if needs_gpu and settings.device.type != 'cuda':
                section['note'] = 'Left out: it needs a GPU.'
            else:
                _fill(section, rows_of(settings), end)
        except Exception as error:
            section['note'] = f'FAILED: {type(error).__name__}: {error}'
            traceback.print_exc()
        seconds = time.monotonic() - start
        print(f'{title}: {seconds:.0f} s {section["note"]}', flush=True)
        _write(out, report)
    return 'FAILED' not in str(report)


def _fill(section, rows, end):
    """Take rows until time is up."""
    while time.monotonic() < end:
        row = next(rows, None)
        if row is None:
            return
        section['rows'].append(row)
    section['note'] = f'Cut after {len(section["rows"])} rows: the time was up.'


def _write(out, report):
    write_text(f'{out}.md', to_markdown(report))
    write_json(f'{out}.json', report)


def to_markdown(report: dict) -> str:
    """Format the report as Markdown tables."""
    parts = ['# DCLS operators\n', markdown_facts(report['facts'])]
    for section in report['sections']:
        parts.append(f'## {section["title"]}\n')
        if section['note']:
            parts.append(f'{section["note"]}\n')
        if section['rows']:
            header = list(dict.fromkeys(key for row in section['rows'] for key in row))
            body = ([row.get(key, '') for key in header] for row in section['rows'])
            parts.append(markdown_table(header, body))
    return '\n'.join(parts)


def _facts(settings: Settings, minutes: float) -> dict:
    facts = {
        **describe_device(settings.device),
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
