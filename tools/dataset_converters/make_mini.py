"""Write mini data sets in the formats of ADE20K, COCO and ImageNet."""

import argparse
import sys

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mmdcls.testing import MINI_DATASETS, make_mini


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Write mini data sets in the formats of ADE20K, COCO and ImageNet, '
        'composed from the photographs that scikit-image and scikit-learn ship.'
    )
    parser.add_argument(
        'names',
        nargs='*',
        metavar='NAME',
        default=list(MINI_DATASETS),
        help=f'any of {", ".join(MINI_DATASETS)} (default: all)',
    )
    parser.add_argument('--out-dir', default='data/mini', help='default: %(default)s')
    parser.add_argument(
        '--seed', type=int, default=0, help='same seed, same files; default: 0'
    )
    for split in ('train', 'val'):
        parser.add_argument(
            f'--{split}',
            type=int,
            metavar='N',
            help=f'{split} images of each data set (default: '
            + ', '.join(
                f'{name} {module.DEFAULT_COUNTS[split]}'
                for name, module in MINI_DATASETS.items()
            )
            + ')',
        )
    return parser.parse_args()


def main() -> None:
    """Write the data sets and say what lies where."""
    args = parse_args()
    columns = (TextColumn('{task.description:9}'), BarColumn(), MofNCompleteColumn())
    tasks = {}
    with Progress(*columns) as bars:

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        try:
            made = make_mini(
                args.out_dir, args.names, args.seed, args.train, args.val, show
            )
        except (OSError, ValueError) as error:
            bars.stop()
            sys.exit(f'make_mini: {error}')
    for dataset in made:
        state = 'written' if dataset.written else 'complete, left alone'
        print(
            f'{dataset.name}: {dataset.folder} ({dataset.counts["train"]} train and '
            f'{dataset.counts["val"]} val images, {dataset.size / 1e6:.1f} MB, {state})'
        )


if __name__ == '__main__':
    main()
