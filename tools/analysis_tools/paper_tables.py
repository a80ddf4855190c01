"""Print Tables 1 to 5 of the paper with our numbers beside them, as Markdown or JSON.

Parameters and FLOPs are counted from the configs. Scores are taken from the runs in
work_dirs, where `tools/train.py` and `tools/test.py` leave them, and stay empty without
a run. Throughput ratios come from a JSON of `tools/analysis_tools/benchmark.py`.
"""

import argparse
import os
from pathlib import Path

from mmdcls.command_line import ArgumentParser
from mmdcls.files import refuse_overwriting, write_json, write_text
from mmdcls.progress import progress_bars

ROOT = Path(__file__).resolve().parents[2]


def make_parser() -> ArgumentParser:
    """Describe the command line."""
    parser = ArgumentParser(__doc__, '--tables 1 5 --throughput times.json')
    parser.add_argument(
        '--tables', nargs='+', type=int, choices=range(1, 6), default=[1, 2, 3, 4, 5]
    )
    parser.add_argument(
        '--work-dirs', type=Path, default=Path('work_dirs'), help='default: %(default)s'
    )
    parser.add_argument(
        '--throughput', type=Path, nargs='+', default=[], help='JSON of benchmark.py'
    )
    parser.add_argument(
        '--no-count', action='store_true', help='do not count parameters and FLOPs'
    )
    parser.add_argument('--json', type=Path, help='also write all numbers to this file')
    parser.add_argument(
        '--update',
        type=Path,
        help='write the tables into this Markdown file, between <!-- paper_tables N '
        '--> and <!-- /paper_tables -->, instead of printing them',
    )
    return parser


def main() -> None:
    """Print or write what the command line asks for."""
    parser = make_parser()
    args = parser.parse_args()
    with parser.one_sentence_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Fill the tables."""
    import mmdcls.registry  # noqa: F401, finds mmseg's configs
    from mmdcls.analysis.reports import silence_mmengine
    from mmdcls.paper import recounted_tables as paper_tables
    from mmdcls.paper.printed_tables import TABLES

    silence_mmengine()
    # With --update, the document is read and written on purpose.
    if args.update and not args.update.is_file():
        raise paper_tables.PaperTableError(
            f"--update: '{args.update}' is no file to write tables into."
        )
    inputs = [*args.throughput, *paper_tables.find_runs(args.work_dirs)]
    refuse_overwriting(filter(None, (args.json, args.update)), inputs)
    if args.json and args.update:
        refuse_overwriting([args.json], [args.update])
    ratios: dict[tuple[str, str], float] = {}
    for path in args.throughput:
        ratios.update(paper_tables.read_throughput_ratios(path))
    source = paper_tables.Source(ROOT, args.work_dirs, ratios, not args.no_count)
    tables = [TABLES[number] for number in args.tables]
    with progress_bars('{task.description:24}', transient=True) as bars:
        task = bars.add_task('', total=sum(len(table.rows) for table in tables))
        filled = [
            paper_tables.fill_table(
                table,
                source,
                lambda row: bars.update(task, description=row.model, advance=1),
            )
            for table in tables
        ]
    folder = args.update.parent if args.update else ROOT
    root = f'{os.path.relpath(ROOT, folder)}/'.removeprefix('./')
    markdown = {
        table.number: paper_tables.to_markdown(table, values, root)
        for table, values in zip(tables, filled, strict=True)
    }
    if args.json:
        write_json(args.json, filled)
    if args.update:
        text = args.update.read_text()
        write_text(args.update, paper_tables.update_file(text, markdown))
    else:
        print('\n'.join(markdown.values()), end='')


if __name__ == '__main__':
    main()
