"""What the reports of the analysis tools have in common."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence

import torch
from mmengine.logging import MMLogger

from mmdcls.files import write_text


def silence_mmengine() -> None:
    """Keep mmengine's notes out of standard output, where a report goes."""
    MMLogger.get_instance('mmdcls', log_level='ERROR')


def markdown_table(header: Sequence, rows: Iterable[Sequence]) -> str:
    """A Markdown table; it ends in a line break."""
    cells = [header, ['---'] * len(header), *rows]
    return ''.join('| ' + ' | '.join(map(str, row)) + ' |\n' for row in cells)


def markdown_facts(facts: dict) -> str:
    """A Markdown list of names and values; it ends in a line break."""
    return ''.join(f'- {name}: {value}\n' for name, value in facts.items())


def write_json(path: str | os.PathLike, content: object) -> None:
    """Write ``content``; a file that exists is replaced only when done."""
    write_text(path, json.dumps(content, indent=1) + '\n')


def describe_device(device: torch.device) -> dict:
    """What timings depend on: the device, its threads and the version of PyTorch."""
    if device.type == 'cuda':
        facts = {'device': torch.cuda.get_device_name(device)}
    else:
        facts = {
            'device': f'CPU, {torch.backends.cpu.get_cpu_capability()}',
            'threads': torch.get_num_threads(),
        }
    return {**facts, 'torch': torch.__version__}
