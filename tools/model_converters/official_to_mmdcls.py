"""Convert the authors' released ConvNeXt-dcls checkpoints for the configs here."""

import argparse

from mmdcls.command_line import one_sentence_errors


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help="the authors' file (.pth or .safetensors)")
    parser.add_argument('dst', help='the file to write (.pth)')
    parser.add_argument(
        '--task',
        choices=['cls', 'seg', 'det'],
        help='refuse a file for another task; by default the file tells',
    )
    parser.add_argument(
        '--config', help='convert for this config instead of a released size'
    )
    parser.add_argument(
        '--no-share',
        action='store_true',
        help='accept positions that differ within a stage',
    )
    parser.add_argument(
        '--no-ema', action='store_true', help='take the weights that are not averaged'
    )
    parser.add_argument(
        '--from-convnext',
        action='store_true',
        help='SRC is a plain ConvNeXt: keep all but its depthwise convolutions, which '
        'start anew',
    )
    parser.add_argument('--seed', type=int, default=0, help='with --from-convnext')
    args = parser.parse_args()
    if args.from_convnext and (args.no_share or args.task not in (None, 'cls')):
        parser.error('--from-convnext takes neither --no-share nor another task')

    from mmdcls.converters import (
        check_destination,
        convnext_to_mmdcls,
        official_to_mmdcls,
        write_checkpoint,
    )

    with one_sentence_errors():
        check_destination(args.src, args.dst)
        if args.from_convnext:
            conversion = convnext_to_mmdcls(
                args.src, args.config, args.seed, prefer_ema=not args.no_ema
            )
        else:
            conversion = official_to_mmdcls(
                args.src,
                args.task,
                args.config,
                share_positions=not args.no_share,
                prefer_ema=not args.no_ema,
            )
        conversion.print_summary()
        conversion.check()
        write_checkpoint(conversion.content, args.dst)
        print(f'Written: {args.dst}')


if __name__ == '__main__':
    main()
