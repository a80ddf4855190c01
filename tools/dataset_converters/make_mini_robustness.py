"""Lay out the mini ImageNet as ImageNet-C, C-bar (two layouts), A, R and Sketch.

Only C is the real thing: the others exercise the evaluation with stand-ins, and their
scores mean nothing.
"""

import os

from mmdcls.command_line import ArgumentParser, whole_number
from mmdcls.progress import progress_bars


def main() -> None:
    """Write the folders and say where."""
    parser = ArgumentParser(__doc__, '--images-per-class 2')
    parser.add_argument(
        '--source', default='data/mini/imagenet/val', help='%(default)s'
    )
    parser.add_argument('--target', default='data/mini/robustness', help='%(default)s')
    parser.add_argument(
        '--images-per-class', type=whole_number(1), default=4, help='%(default)s'
    )
    parser.add_argument(
        '--size', type=int, default=64, help="the model's crop; default: %(default)s"
    )
    parser.add_argument('--workers', type=whole_number(1), default=os.cpu_count())
    args = parser.parse_args()

    with parser.one_sentence_errors(), progress_bars() as bars:
        from mmdcls.testing.robustness import make_mini_robustness

        bar = bars.add_task('images', total=None)
        written = make_mini_robustness(
            args.source,
            args.target,
            args.images_per_class,
            args.size,
            args.workers,
            lambda done, total: bars.update(bar, completed=done, total=total),
        )
    print(f'{args.target} ({"written" if written else "complete, left alone"})')


if __name__ == '__main__':
    main()
