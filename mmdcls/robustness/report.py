"""Robustness reports: averages of a run's cells, as JSON and as a Markdown table."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdcls.errors import MmdclsError
from mmdcls.evaluation import corruption_error
from mmdcls.files import (
    UnreadableFileError,
    markdown_table,
    markdown_text,
    read_json,
)

from .cells import Cell

FORMAT = 2

PAPER_ROWS = (
    ('ResNet-50', '4.1 / 25.6', 76.1, 76.7, 57.7, 0.0, 36.1, 24.1),
    ('ConvNeXt-T', '4.5 / 28.6', 82.1, 41.6, 41.2, 23.5, 47.6, 33.8),
    ('ConvNeXt-dcls-T', '5.0 / 28.6', 82.5, 41.5, 39.7, 23.9, 47.8, 34.7),
    ('ConvNeXt-S', '8.7 / 50.2', 83.1, 38.9, 37.8, 30.1, 50.1, 37.1),
    ('ConvNeXt-dcls-S', '9.5 / 50.2', 83.7, 37.8, 35.2, 33.7, 50.4, 36.7),
    ('ConvNeXt-B', '15.4 / 88.6', 83.8, 37.0, 35.7, 35.5, 51.7, 38.2),
    ('ConvNeXt-dcls-B', '16.5 / 88.6', 84.1, 36.3, 34.3, 36.8, 52.6, 38.4),
)
"""Table 5 of the paper: model, GFLOPs / million parameters, clean accuracy, error on C
and C-bar, accuracy on A, R and Sketch. C of ResNet-50 is an mCE."""

_COLUMNS = ('Clean', 'C (↓)', 'C̄ (↓)', 'A', 'R', 'SK', 'mCE (↓)', 'relative mCE (↓)')
_CELLS = {'c': 75, 'cbar': 50}


class ReportError(MmdclsError, ValueError):
    """A report that cannot be read, said in one sentence."""


def summarize(
    facts: Mapping, results: Mapping[Cell, dict], missing: Sequence[Cell] = ()
) -> dict:
    """Average a run's cells.

    Args:
        facts: The facts that the report tells about the model; ``task`` decides the
            averages.
        results: The measurements of every cell.
        missing: Cells that had no images.

    Returns:
        ``facts`` and ``benchmarks``: for every benchmark its scores, and for those with
        corruptions the averages, the number of cells and the scores of each.
    """
    benchmarks: dict[str, dict] = {}
    for cell, result in results.items():
        entry = benchmarks.setdefault(cell.benchmark, {})
        if cell.corruption:
            severities = entry.setdefault('corruptions', {})
            severities = severities.setdefault(cell.corruption, {})
            severities[str(cell.severity)] = result
        else:
            entry.update(result)
    average = (
        _average_errors if facts['task'] == 'classification' else _average_performance
    )
    for benchmark, entry in benchmarks.items():
        if 'corruptions' in entry:
            entry.update(average(benchmark, entry, benchmarks.get('clean')))
    return dict(
        format=FORMAT,
        **facts,
        benchmarks=benchmarks,
        missing=[str(cell) for cell in missing],
    )


def errors_of(entry: Mapping) -> dict[tuple[str, int], float]:
    """Give a benchmark's top-1 errors in percent, by corruption and severity."""
    return {
        (corruption, int(severity)): 100 - result['top1']
        for corruption, severities in entry['corruptions'].items()
        for severity, result in severities.items()
    }


def _average_errors(benchmark: str, entry: dict, clean: dict | None) -> dict:
    errors = errors_of(entry)
    averages = dict(
        cells=len(errors),
        error_per_corruption=corruption_error.mean_error_per_corruption(errors),
    )
    if benchmark == 'c_extra':
        return averages
    averages['mean_error'] = corruption_error.mean_error(errors)
    if benchmark == 'c' and corruption_error.is_complete(errors):
        averages['mCE'] = corruption_error.mean_corruption_error(errors)
        if clean:
            averages['relative_mCE'] = corruption_error.relative_mean_corruption_error(
                errors, 100 - clean['top1']
            )
    return averages


def _average_performance(benchmark: str, entry: dict, clean: dict | None) -> dict:
    """Return mean and relative performance under corruption (Michaelis et al. 2019).

    A score that a cell lacks is 0: mmdet reports none where nothing was detected.
    """
    results = [
        result
        for severities in entry['corruptions'].values()
        for result in severities.values()
    ]
    averages: dict = dict(cells=len(results))
    if benchmark == 'c_extra':
        return averages
    scores = dict.fromkeys(name for r in [clean or {}, *results] for name in r)
    mean = {
        name: sum(r.get(name, 0) for r in results) / len(results) for name in scores
    }
    averages['mPC'] = mean
    if clean:
        averages['rPC'] = {
            name: 100 * mean[name] / clean[name] for name in mean if clean.get(name)
        }
    return averages


def read(path: str | os.PathLike) -> dict:
    """Read a report.

    Raises:
        ReportError: If the file is none.
    """
    try:
        content: Any = read_json(path)
    except UnreadableFileError as error:
        raise ReportError(
            f"'{path}' is no report of tools/robustness.py ({error})."
        ) from error
    if not is_report(content):
        raise ReportError(f"'{path}' is no report of tools/robustness.py.")
    return content


def is_report(content: Any) -> bool:
    """Tell whether a content is one that :func:`summarize` may have given."""
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        return False
    kinds = {'model': str, 'task': str, 'on_the_fly': bool, 'missing': list}
    kinds['benchmarks'] = dict
    if not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        return False
    classifies = content['task'] == 'classification'
    flops = content.get('flops', '')
    if not _is_number(content.get('parameters')):
        return False
    if flops is not None and not _is_number(flops):
        return False
    return all(map(_is_text, content['missing'])) and all(
        _is_benchmark(entry, classifies) for entry in content['benchmarks'].values()
    )


def _is_benchmark(entry: Any, classifies: bool) -> bool:
    if not isinstance(entry, dict) or 'corruptions' not in entry:
        return _is_result(entry, classifies)
    averages = [entry.get('mean_error')] if classifies else []
    for name in () if classifies else ('mPC', 'rPC'):
        part = entry.get(name)
        averages += part.values() if isinstance(part, dict) else [None]
    corruptions = entry['corruptions']
    return (
        all(value is None or _is_number(value) for value in averages)
        and isinstance(entry.get('cells'), int)
        and isinstance(corruptions, dict)
        and all(
            isinstance(severities, dict)
            and all(
                severity.isdecimal() and _is_result(result, classifies)
                for severity, result in severities.items()
            )
            for severities in corruptions.values()
        )
    )


def _is_result(result: Any, classifies: bool) -> bool:
    if not isinstance(result, dict) or (classifies and 'top1' not in result):
        return False
    unreadable = result.get('unreadable', [])
    scores = [value for name, value in result.items() if name != 'unreadable']
    return (
        isinstance(unreadable, list)
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair))
            for pair in unreadable
        )
        and all(map(_is_number, scores))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def files(path: Path) -> tuple[Path, Path, Path]:
    """Return the files of a report: that of its JSON, of the table and of the plot."""
    return path, path.with_suffix('.md'), path.with_suffix('.png')


def to_markdown(reports: Sequence[dict]) -> str:
    """Write reports as a table: Table 5's form, or scores under corruption.

    Args:
        reports: The first one decides the form; those of other tasks are left out.
    """
    task = reports[0]['task']
    reports = [report for report in reports if report['task'] == task]
    table = _table5(reports) if task == 'classification' else _score_table(reports)
    notes = [note for report in reports for note in _notes(report)]
    return '\n'.join([table, *notes]).rstrip() + '\n'


def _table5(reports: Sequence[dict]) -> str:
    rows = []
    for report in reports:
        flops = None if report['flops'] is None else report['flops'] / 1e9
        size = f'{_number(flops)} / {_number(report["parameters"] / 1e6)}'
        rows.append([report['model'], size, *_row(report)])
    for model, size, *scores in PAPER_ROWS:
        mean, mce = (f'{scores[1]:.1f}', '–')
        if model == 'ResNet-50':
            mean, mce = mce, mean
        others = [f'{score:.1f}' for score in scores[2:]]
        row = [f'{model} (paper)', size, f'{scores[0]:.1f}', mean, *others, mce, '–']
        rows.append(row)
    return markdown_table(['Model', 'FLOPs (G) / Params (M)', *_COLUMNS], rows) + (
        '\nClean, A, R, SK: top-1 accuracy in %. C, C̄: mean top-1 error in % over '
        'corruptions and severities. mCE, relative mCE: errors on C divided by '
        "AlexNet's, in %. The paper prints ResNet-50's mCE in its column C.\n"
    )


def _row(report: dict) -> list[str]:
    benchmarks = report['benchmarks']
    cells = {}
    for column, name in zip(_COLUMNS, ('clean', 'c', 'cbar', 'a', 'r', 'sketch')):  # noqa: B905
        entry = benchmarks.get(name, {})
        cells[column] = _number(entry.get('top1'))
        if name in _CELLS and entry:
            cells[column] = _number(entry.get('mean_error'))
            if entry['cells'] < _CELLS[name]:
                cells[column] += f' ({entry["cells"]} of {_CELLS[name]} cells)'
    c = benchmarks.get('c', {})
    cells[_COLUMNS[6]] = _number(c.get('mCE'))
    cells[_COLUMNS[7]] = _number(c.get('relative_mCE'))
    return [cells[column] for column in _COLUMNS]


def _score_table(reports: Sequence[dict]) -> str:
    rows = []
    for report in reports:
        benchmarks = report['benchmarks']
        clean, corrupted = benchmarks.get('clean', {}), benchmarks.get('c', {})
        for name in primary_scores(report):
            row = [
                report['model'],
                name,
                _number(clean.get(name), 3),
                _number(corrupted.get('mPC', {}).get(name), 3),
                _number(corrupted.get('rPC', {}).get(name)),
                corrupted.get('cells', '–'),
            ]
            rows.append(row)
    header = ['Model', 'Score', 'Clean', 'mPC', 'rPC (%)', 'cells']
    return markdown_table(header, rows) + (
        '\nmPC: mean over 15 corruptions and 5 severities (75 cells); rPC: mPC in % of '
        'clean.\n'
    )


def primary_scores(report: dict) -> list[str]:
    """Return the names of the scores in the table of a segmentor or detector."""
    benchmarks = report['benchmarks']
    names = list(benchmarks.get('clean') or benchmarks.get('c', {}).get('mPC', {}))
    return [name for name in names if name.endswith(('mIoU', '_mAP'))] or names


def _notes(report: dict) -> list[str]:
    notes = []
    if report['on_the_fly']:
        notes.append(
            f'{report["model"]}: C was corrupted on the fly, an estimate of the '
            'published ImageNet-C.'
        )
    if report.get('outputs'):
        notes.append(
            f'{report["model"]}: its outputs are the class folders of '
            f"'{report['outputs']}' in alphabetical order, not ImageNet's."
        )
    notes += _notes_on_empty_classes(report)
    if report['missing']:
        notes.append(
            f'{report["model"]}: {len(report["missing"])} cells had no images: '
            f'{", ".join(report["missing"])}.'
        )
    for name, result in iter_results(report):
        if result.get('unreadable'):
            paths = ', '.join(path for path, _ in result['unreadable'])
            notes.append(
                f'{report["model"]}: {len(result["unreadable"])} images of {name} '
                f'cannot be read and are not scored: {paths}.'
            )
    return [markdown_text(note) for note in notes]


def _notes_on_empty_classes(report: dict) -> list[str]:
    """Return one note a benchmark: its cells mostly have the same classes."""
    counts: dict[str, list[int]] = {}
    for name, result in iter_results(report):
        if result.get('empty_classes'):
            benchmark = name.partition('/')[0]
            counts.setdefault(benchmark, []).append(result['empty_classes'])
    notes = []
    for benchmark, found in counts.items():
        low, high = min(found), max(found)
        count = str(low) if low == high else f'{low} to {high}'
        cells = f' ({len(found)} cells)' if len(found) > 1 else ''
        notes.append(
            f'{report["model"]}: {count} classes have no image in {benchmark}{cells}.'
        )
    return notes


def iter_results(report: dict):
    """Yield every cell's name and result."""
    for benchmark, entry in report['benchmarks'].items():
        if 'corruptions' not in entry:
            yield benchmark, entry
        for corruption, severities in entry.get('corruptions', {}).items():
            for severity, result in severities.items():
                yield f'{benchmark}/{corruption}/{severity}', result


def _number(value: float | None, digits: int = 1) -> str:
    return '–' if value is None else f'{value:.{digits}f}'
