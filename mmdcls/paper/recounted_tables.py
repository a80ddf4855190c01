"""The paper's tables beside what this repository computes and measures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config

from mmdcls.analysis.complexity import Complexity, complexity_of_config
from mmdcls.checkpoints.embedded_config import parse_config
from mmdcls.errors import MmdclsError
from mmdcls.files import markdown_table, read_json
from mmdcls.robustness.report import ReportError, read

from .printed_tables import Column, Row, Table

_UNITS = {'parameters': 1e6, 'flops': 1e9}
_DIGITS = {'parameters': 2, 'flops': 1, 'throughput': 2, 'score': 1}
_MISSING = '–'
_BLANK = f' /{_MISSING}'
_ROBUSTNESS_SCORES = {
    'clean': ('top1', None),
    'c': ('mean_error', 75),
    'cbar': ('mean_error', 50),
    'a': ('top1', None),
    'r': ('top1', None),
    'sketch': ('top1', None),
}
"""Score of Table 5 to its name in a robustness report, and the cells of a whole one."""


class PaperTableError(MmdclsError, ValueError):
    """An input that cannot be used, said in one sentence."""


class Source:
    """Where the numbers of this repository come from.

    Args:
        root: The repository; configs without ``::`` lie below it.
        work_dirs: The folder that has a folder of runs for each config, named as the
            config.
        ratios: Throughput of one config over that of another by the pair of their
            names, see :func:`read_throughput_ratios`.
        count: Whether to count parameters and FLOPs, which builds every model.
    """

    def __init__(
        self,
        root: Path,
        work_dirs: Path,
        ratios: Mapping[tuple[str, str], float] | None = None,
        count: bool = True,
    ) -> None:
        self.root = root
        self.work_dirs = work_dirs
        self.ratios = ratios or {}
        self.count = count
        self._complexities: dict[str, Complexity] = {}

    def config(self, name: str) -> Config:
        """Read a config of this repository or of an OpenMMLab package."""
        return get_config(name) if '::' in name else Config.fromfile(self.root / name)

    def complexity(self, name: str) -> dict[str, float]:
        """Count million parameters and giga FLOPs of a config's model, once."""
        if not self.count:
            return {}
        if name not in self._complexities:
            self._complexities[name] = complexity_of_config(self.config(name))
        counted = self._complexities[name].as_dict()
        return {key: counted[key] / unit for key, unit in _UNITS.items()}

    def throughput_ratio(self, name: str, plain: str | None) -> float | None:
        """Return a config's throughput over the plain one's, where it was measured."""
        return self.ratios.get((Path(name).stem, Path(plain).stem)) if plain else None

    def scores(self, table: Table, name: str) -> dict[str, float]:
        """Read the scores that runs of a config left in ``work_dirs``, in percent."""
        folder = self.work_dirs / Path(name).stem
        if table.number == 5:
            return read_robustness(folder / 'robustness' / 'robustness.json')
        return read_scores(folder, table.metrics)


def read_throughput_ratios(path: Path) -> dict[tuple[str, str], float]:
    """Read a JSON of ``benchmark.py``: throughput at inference, both ways round.

    Only configs that took turns in one run are compared: images a second of two runs
    say more of the machine than of the models.

    Raises:
        PaperTableError: If the file is none.
    """
    try:
        report: Any = read_json(path)
        first, second = report['contenders']
        pairs = ((first, second), (second, first))
        return {
            (one['config'], other['config']): (
                one['images_per_second'] / other['images_per_second']
            )
            for one, other in pairs
        }
    except (ArithmeticError, ValueError, KeyError, TypeError) as error:
        raise PaperTableError(
            f"'{path}' is no JSON of tools/analysis_tools/benchmark.py that times "
            f'inference ({type(error).__name__}: {error}).'
        ) from error


def find_runs(work_dirs: Path) -> list[Path]:
    """List the files below ``work_dirs`` that scores are read from."""
    return [*work_dirs.glob('*/*/*.json'), *work_dirs.glob('*/*/vis_data/*.json')]


def read_scores(
    folder: Path, metrics: Mapping[str, tuple[str, float]]
) -> dict[str, float]:
    """Read the scores of the newest single-scale evaluation below a run's folder.

    A test counts before the evaluations during trainings, which count by their last
    one. Runs with test-time augmentation are another protocol and do not count.

    Args:
        folder: The folder that ``--work-dir`` named.
        metrics: The scores that the table has, see :class:`Table`.

    Returns:
        Score key to percentage; empty without a complete evaluation.
    """
    tests = _visible(folder.glob('*/*.json'))
    logs = _visible(folder.glob('*/vis_data/scalars.json'))
    for path in [*tests, *logs]:
        run = path.parent if path in tests else path.parent.parent
        if _is_augmented(run):
            continue
        for content in reversed(_read_json_lines(path)):
            names = {key: name for key, (name, _) in metrics.items()}
            if all(isinstance(content.get(n), (int, float)) for n in names.values()):
                return {
                    key: content[names[key]] * factor
                    for key, (_, factor) in metrics.items()
                }
    return {}


def _visible(paths: Iterable[Path]) -> list[Path]:
    """List runs, the newest first, without the hidden files that macOS leaves."""
    return sorted(
        (path for path in paths if not path.name.startswith('.')), reverse=True
    )


def _is_augmented(run: Path) -> bool:
    config = run / 'vis_data' / 'config.py'
    if not config.is_file():
        return False
    try:
        model = parse_config(config.read_text()).get('model') or {}
    except (ValueError, SyntaxError) as error:
        raise PaperTableError(
            f"'{config}' is not the plain text that mmengine dumps ({error}); it was "
            'not executed.'
        ) from error
    return 'TTA' in str(model.get('type'))


def _read_json_lines(path: Path) -> list[dict]:
    """Read the objects of a file that holds one, or one a line; skip a cut-off one."""
    text = path.read_text()
    try:
        content = json.loads(text)
        return [content] if isinstance(content, dict) else []
    except ValueError:
        pass
    contents = []
    for line in text.splitlines():
        try:
            contents.append(json.loads(line))
        except ValueError:
            continue
    return [content for content in contents if isinstance(content, dict)]


def read_robustness(path: Path) -> dict[str, float]:
    """Read Table 5's scores from a report of ``tools/robustness.py``.

    An average over some of a benchmark's cells is not the table's number: it is left
    out. Empty where there is no report.
    """
    if not path.is_file():
        return {}
    try:
        benchmarks = read(path)['benchmarks']
    except ReportError as error:
        raise PaperTableError(str(error)) from error
    scores = {}
    for name, (key, cells) in _ROBUSTNESS_SCORES.items():
        entry = benchmarks.get(name, {})
        if key in entry and cells in (None, entry.get('cells')):
            scores[name] = entry[key]
    return scores


def fill_table(
    table: Table,
    source: Source,
    progress: Callable[[Row], None] = lambda row: None,
) -> dict:
    """Put our numbers beside a table's.

    Args:
        table: The table as the paper prints it.
        source: The numbers that this repository knows.
        progress: Called before every row.

    Returns:
        ``table``, ``title`` and ``rows``; a row has ``model``, ``config``, ``paper``
        and ``ours`` (numbers by key; throughput as a ratio to the plain model's), and
        ``difference_percent`` of parameters and FLOPs.
    """
    rows = {row.model: row for row in table.rows}
    filled = []
    for row in table.rows:
        progress(row)
        paper = {key: float(value) for key, value in row.printed.items()}
        throughput = paper.pop('throughput', None)
        plain = rows[row.plain] if row.plain else None
        ours: dict[str, float] = {}
        if throughput and plain:
            paper['throughput'] = throughput / float(plain.printed['throughput'])
        if row.config:
            ours.update(source.complexity(row.config))
            ratio = source.throughput_ratio(row.config, plain.config if plain else None)
            if ratio:
                ours['throughput'] = ratio
            ours.update(source.scores(table, row.config))
        filled.append(
            dict(
                model=row.model,
                config=row.config,
                paper=paper,
                ours=ours,
                difference_percent={
                    key: 100 * (ours[key] / paper[key] - 1)
                    for key in _UNITS
                    if key in ours and key in paper
                },
            )
        )
    return dict(table=table.number, title=table.title, rows=filled)


def rounding(row: Row, key: str) -> float:
    """Return half a unit of the last digit that the paper prints of a value."""
    _, _, decimals = row.printed[key].partition('.')
    return 0.5 * 10 ** -len(decimals)


def to_markdown(table: Table, filled: dict, root: str = '') -> str:
    """Write a filled table as Markdown: the paper's columns, each followed by ours.

    A column of ours in which nothing was measured is left out.

    Args:
        table: The table as the paper prints it.
        filled: What :func:`fill_table` makes of it.
        root: What leads from the document's folder to the repository's, as ``'../'``.
    """
    titles = ['Model']
    rows = [[_link(row, root)] for row in table.rows]
    for column in table.columns:
        paper = [
            _paper_cell(column, row, values['paper'])
            for row, values in zip(table.rows, filled['rows'], strict=True)
        ]
        ours = [_our_cell(column, values['ours']) for values in filled['rows']]
        both = {f'{column.title}, paper': paper, 'ours': ours}
        for title, cells in both.items():
            if title == 'ours' and not any(cell.strip(_BLANK) for cell in cells):
                continue
            titles.append(title)
            rows = [[*row, cell] for row, cell in zip(rows, cells, strict=True)]
    notes = [
        _note(row, values)
        for row, values in zip(table.rows, filled['rows'], strict=True)
    ]
    lines = [
        f'**Table {table.number}.** {table.title}\n',
        markdown_table(titles, rows),
        *filter(None, notes),
    ]
    return '\n'.join(lines).rstrip() + '\n'


def _link(row: Row, root: str) -> str:
    if not row.config:
        return row.model
    if '::' in row.config:
        return f'{row.model} (`{row.config}`)'
    return f'[{row.model}]({root}{row.config})'


def _paper_cell(column: Column, row: Row, paper: dict) -> str:
    if column.kind == 'throughput':
        return _number(column, paper.get('throughput'))
    if not row.printed:
        return _MISSING
    return ' / '.join(row.printed.get(key, _MISSING) for key in column.keys)


def _our_cell(column: Column, ours: dict) -> str:
    # A score that nobody has measured leaves its cell empty.
    if column.kind == 'score' and not any(key in ours for key in column.keys):
        return ''
    return ' / '.join(_number(column, ours.get(key)) for key in column.keys)


def _number(column: Column, value: float | None) -> str:
    return _MISSING if value is None else f'{value:.{_DIGITS[column.kind]}f}'


def _note(row: Row, values: dict) -> str:
    """Say by how much a count is off where the paper's rounding is not the reason."""
    off = [
        f'{key} {difference:+.1f} % ({values["ours"][key]:.2f} against '
        f'{row.printed[key]})'
        for key, difference in values['difference_percent'].items()
        if abs(difference) > 1
        and abs(values['ours'][key] - values['paper'][key]) > rounding(row, key)
    ]
    return f'- {row.model}: {", ".join(off)}' if off else ''


def update_file(text: str, tables: Mapping[int, str]) -> str:
    """Put tables between their markers in a document.

    The markers are ``<!-- paper_tables N -->`` and ``<!-- /paper_tables -->``, on lines
    of their own.

    Args:
        text: The document.
        tables: Markdown by table number.

    Raises:
        PaperTableError: If the document has a marker for none of them.
    """
    found = []

    def replace(match: re.Match) -> str:
        number = int(match['number'])
        if number not in tables:
            return match[0]
        found.append(number)
        return f'{match["start"]}\n{tables[number]}{match["end"]}'

    pattern = (
        r'(?P<start><!-- paper_tables (?P<number>\d) -->)\n.*?'
        r'(?P<end><!-- /paper_tables -->)'
    )
    result = re.sub(pattern, replace, text, flags=re.DOTALL)
    if not found:
        raise PaperTableError(
            'The document has no <!-- paper_tables N --> … <!-- /paper_tables --> with '
            f'N one of {", ".join(map(str, tables))}.'
        )
    return result
