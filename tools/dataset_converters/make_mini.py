"""Write mini data sets in the formats of ADE20K, COCO and ImageNet."""

from mmdcls.command_line import ArgumentParser
from mmdcls.progress import one_bar_a_name, progress_bars
from mmdcls.testing import MINI_DATASETS, make_mini


def make_parser() -> ArgumentParser:
    """Describe the command line."""
    parser = ArgumentParser(__doc__, 'ade20k coco --out-dir data/mini')
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
    return parser


def main() -> None:
    """Write the data sets and say what lies where."""
    parser = make_parser()
    args = parser.parse_args()
    with parser.one_sentence_errors(), progress_bars('{task.description:9}') as bars:
        show = one_bar_a_name(bars)
        made = make_mini(
            args.out_dir, args.names, args.seed, args.train, args.val, show
        )
    for dataset in made:
        state = 'written' if dataset.written else 'complete, left alone'
        print(
            f'{dataset.name}: {dataset.folder} ({dataset.counts["train"]} train and '
            f'{dataset.counts["val"]} val images, {dataset.size / 1e6:.1f} MB, {state})'
        )


if __name__ == '__main__':
    main()
