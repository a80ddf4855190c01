"""The plot of robustness reports: one panel a corruption, one line a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mmdcls.files import save_figure

from .report import primary_scores

_TITLES = {'c': 'C', 'c_extra': 'extra', 'cbar': 'C̄'}
_COLUMNS = 5
_MARKERS = 'os^Dv'


def plot(reports: Sequence[dict], filename: Path) -> Path:
    """Draw the error (or the first score) per corruption and severity.

    The dashed line is the clean images'. Reports without corruptions become bars of
    accuracy.

    Args:
        reports: The first one decides which panels there are.
        filename: The PNG file to write.
    """
    task = reports[0]['task']
    reports = [report for report in reports if report['task'] == task]
    panels = [
        (benchmark, corruption)
        for benchmark in _TITLES
        for corruption in reports[0]['benchmarks']
        .get(benchmark, {})
        .get('corruptions', {})
    ]
    if not panels:
        return _plot_bars(reports, filename)
    rows = math.ceil(len(panels) / _COLUMNS)
    columns = min(_COLUMNS, len(panels))
    size = (2.6 * columns + 0.6, 2.0 * rows + 0.8)
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    score = None if task == 'classification' else primary_scores(reports[0])[0]
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for place, (benchmark, corruption) in enumerate(panels):
        axis = axes.flat[place]
        for i, report in enumerate(reports):
            style = dict(color=f'C{i}', marker=_MARKERS[i % len(_MARKERS)])
            _draw_line(axis, report, benchmark, corruption, score, style)
        axis.set_title(f'{_TITLES[benchmark]}: {corruption}', fontsize=8)
        axis.set_xticks(range(1, 6))
        axis.tick_params(labelbottom=place + columns >= len(panels))
        axis.grid(alpha=0.3)
    figure.supxlabel('severity')
    figure.supylabel(f'{score or "top-1 error (%)"}   (dashed: of the clean images)')
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper center', ncols=3, fontsize=8)
    return save_figure(figure, filename)


def _draw_line(axis, report, benchmark, corruption, score, style) -> None:
    def value(result: dict) -> float:
        return 100 - result['top1'] if score is None else result.get(score, 0)

    benchmarks = report['benchmarks']
    corruptions = benchmarks.get(benchmark, {}).get('corruptions', {})
    severities = corruptions.get(corruption, {})
    x = sorted(map(int, severities))
    y = [value(severities[str(severity)]) for severity in x]
    axis.plot(x, y, markersize=4, label=report['model'], **style)
    if 'clean' in benchmarks:
        height = value(benchmarks['clean'])
        axis.axhline(height, color=style['color'], ls='--', lw=0.8)


def _plot_bars(reports: Sequence[dict], filename: Path) -> Path:
    key = (
        'top1'
        if reports[0]['task'] == 'classification'
        else primary_scores(reports[0])[0]
    )
    names = list(reports[0]['benchmarks'])
    figure = Figure(figsize=(5, 3), layout='constrained')
    axis = figure.subplots()
    width = 0.8 / len(reports)
    for i, report in enumerate(reports):
        heights = [report['benchmarks'].get(name, {}).get(key, 0) for name in names]
        positions = [place + i * width for place in range(len(names))]
        axis.bar(positions, heights, width, label=report['model'])
    axis.set_xticks([place + 0.4 - width / 2 for place in range(len(names))], names)
    axis.set_ylabel('top-1 accuracy (%)' if key == 'top1' else key)
    axis.legend(fontsize=8)
    return save_figure(figure, filename)
