"""Verify that the data sets of a config lie on disk as it expects.

Looks for missing folders and files, unreadable or truncated images, label values out of
range, annotations that lack what training or evaluation needs, and classes that differ
between splits or from the model's. Exit code 1 if anything is wrong.
"""

import os
import sys

from mmdcls.command_line import (
    ArgumentParser,
    config_settings,
    parse_arguments,
    whole_number,
)
from mmdcls.files import write_text
from mmdcls.progress import one_bar_a_name, progress_bars

SHOWN_PROBLEMS = 20


def main() -> None:
    """Check what the command line asks for."""
    parser = ArgumentParser(
        __doc__, 'CONFIG --data-root /mnt/ade --splits val --out problems.txt'
    )
    parser.add_argument('config', help='a config of mmpretrain, mmseg or mmdet')
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=['train', 'val', 'test'],
        default=['train', 'val', 'test'],
        help='default: all; a data set that two of them use alike is checked once',
    )
    parser.add_argument(
        '--workers',
        type=whole_number(1),
        default=min(16, os.cpu_count() or 1),
        help='threads that decode images; default: %(default)s',
    )
    parser.add_argument('--out', help='write every problem to this file, one a line')
    args = parse_arguments(parser, ('--data-root', '--allow-pickle'))

    with parser.one_sentence_errors():
        from mmengine.registry import init_default_scope

        from mmdcls.apis.data_checks import find_mismatches
        from mmdcls.apis.launch import load_config
        from mmdcls.apis.run_outputs import check_outputs
        from mmdcls.apis.unpickling import refuse_unpickling
        from mmdcls.datasets.check import check_datasets, open_sources

        cfg = load_config(args.config, **config_settings(args), splits=args.splits)
        check_outputs(cfg, args.splits, (args.out,), (args.config,))
        refuse_unpickling(cfg, args.splits, args.allow_pickle)
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        sources = open_sources(cfg, args.splits)
        with progress_bars() as bars:
            reports = check_datasets(sources, args.workers, one_bar_a_name(bars))
        mismatches = find_mismatches(cfg, sources)
        problems = [problem for report in reports for problem in report.problems]
        problems += mismatches
        for report in reports:
            print(describe(report))
            for note in report.notes:
                print(f'  note: {note}')
        if args.out:
            write_text(args.out, ''.join(f'{problem}\n' for problem in problems))
        for problem in problems[:SHOWN_PROBLEMS]:
            print(f'  {problem}')
        if len(problems) > SHOWN_PROBLEMS:
            where = args.out or '--out FILE writes all'
            print(f'  … and {len(problems) - SHOWN_PROBLEMS} more ({where})')
        print(f'{count_problems(problems)}.')
    sys.exit(1 if problems else 0)


def describe(report) -> str:
    """One line about a data set."""
    counts = ', '.join(f'{count} {name}' for name, count in report.counts.items())
    published = ''
    if report.published not in (None, report.counts['images']):
        published = f' (the published data set has {report.published} images)'
    return (
        f'{report.key}: {report.type} in {report.folder}: {counts}{published}; '
        f'{count_problems(report.problems)}'
    )


def count_problems(problems: list) -> str:
    """How many there are, in words."""
    if len(problems) == 1:
        return '1 problem'
    return f'{len(problems)} problems' if problems else 'no problem'


if __name__ == '__main__':
    main()
