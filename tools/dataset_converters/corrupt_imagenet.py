"""Write ImageNet-C from a folder of clean validation images.

Made as the published set was. Two of the 15 corruptions of the package that is used
differ from it (elastic_transform and frost, see docs/robustness.md): published numbers
come from the published files.
"""

import os
import sys

from mmdcls.command_line import ArgumentParser, whole_number
from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from mmdcls.progress import progress_bars


def make_parser() -> ArgumentParser:
    """Describe the command line."""
    parser = ArgumentParser(__doc__, 'data/imagenet/val data/imagenet-c --severities 3')
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
    parser.add_argument(
        '--seed', type=whole_number(0), default=0, help='default: %(default)s'
    )
    parser.add_argument(
        '--workers',
        type=whole_number(1),
        default=os.cpu_count(),
        help='default: %(default)s',
    )
    return parser


def main() -> None:
    """Write the images; the same command goes on where it was stopped."""
    parser = make_parser()
    args = parser.parse_args()
    with parser.one_sentence_errors(), progress_bars() as bars:
        from mmdcls.datasets.corrupt_imagenet import Making, corrupt_imagenet

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
