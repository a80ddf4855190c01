"""Write ImageNet-C from a folder of clean validation images.

Made as the published set was. Two of the 15 corruptions of the package that is used
differ from it (elastic_transform and frost, see docs/robustness.md): published numbers
come from the published files.
"""

import argparse
import os
import sys

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TimeRemainingColumn as TimeRemaining

from mmdcls.command_line import one_sentence_errors
from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='folder of class folders, say imagenet/val')
    parser.add_argument('target', help='folder to write, say imagenet-c')
    parser.add_argument(
        '--corruptions',
        nargs='+',
        metavar='NAME',
        default=list(CORRUPTIONS),
        help=f'any of {", ".join(CORRUPTIONS + EXTRA_CORRUPTIONS)}; '
        'default: all but the last four',
    )
    parser.add_argument('--extra', action='store_true', help='the last four as well')
    parser.add_argument('--severities', nargs='+', type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument('--resize', type=int, default=256, help='default: %(default)s')
    parser.add_argument('--crop', type=int, default=224, help='default: %(default)s')
    parser.add_argument('--quality', type=int, default=85, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='default: %(default)s'
    )
    return parser.parse_args()


def main() -> None:
    """Write the images; the same command goes on where it was stopped."""
    args = parse_args()
    from mmdcls.datasets.corrupt_imagenet import Making, corrupt_imagenet

    columns = (TextColumn('images'), BarColumn(), MofNCompleteColumn(), TimeRemaining())
    with one_sentence_errors(), Progress(*columns) as bars:
        bar = bars.add_task('images', total=None)
        problems = corrupt_imagenet(
            args.source,
            args.target,
            [*args.corruptions, *(EXTRA_CORRUPTIONS if args.extra else ())],
            args.severities,
            Making(args.resize, args.crop, args.quality, args.seed),
            args.workers,
            lambda done, total: bars.update(bar, completed=done, total=total),
        )
    for name, reason in problems:
        print(f'cannot be read: {name} ({reason})', file=sys.stderr)
    if problems:
        sys.exit(f'error: {len(problems)} images of {args.source} cannot be read.')
    print(args.target)


if __name__ == '__main__':
    main()
