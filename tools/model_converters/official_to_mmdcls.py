"""Convert the authors' released ConvNeXt-dcls checkpoints for the configs here."""

import argparse

from mmdcls.command_line import add_conversion_arguments, convert_file


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_conversion_arguments(
        parser, config='convert for this config instead of a released size'
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

    def convert():
        from mmdcls.converters import convnext_to_mmdcls, official_to_mmdcls

        if args.from_convnext:
            return convnext_to_mmdcls(
                args.src, args.config, args.seed, prefer_ema=not args.no_ema
            )
        return official_to_mmdcls(
            args.src,
            args.task,
            args.config,
            share_positions=not args.no_share,
            prefer_ema=not args.no_ema,
        )

    convert_file(args.src, args.dst, convert)


if __name__ == '__main__':
    main()
