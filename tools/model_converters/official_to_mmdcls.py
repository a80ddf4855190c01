"""Convert the authors' released ConvNeXt-dcls checkpoints for the configs here."""

import argparse

from mmdcls.command_line import (
    ArgumentParser,
    add_conversion_arguments,
    convert_file,
    whole_number,
)


def main() -> None:
    """Convert one file."""
    parser = ArgumentParser(__doc__, 'dcls_tiny.pth mmdcls.pth')
    add_conversion_arguments(
        parser, config='convert for this config instead of a released size'
    )
    parser.add_argument(
        '--no-ema', action='store_true', help='take the weights that are not averaged'
    )
    parser.add_argument(
        '--clamp',
        action=argparse.BooleanOptionalAction,
        help='clamp positions beyond the kernel or keep them; by default as the layer '
        'that SRC belongs to does, where the file tells it',
    )
    parser.add_argument(
        '--from-convnext',
        action='store_true',
        help='SRC is a plain ConvNeXt: keep all but its depthwise convolutions, which '
        'start anew',
    )
    parser.add_argument(
        '--seed', type=whole_number(0), default=0, help='with --from-convnext'
    )
    args = parser.parse_args()
    if args.from_convnext:
        _refuse_what_has_no_meaning(parser, args)

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
            columns_first=args.columns_first,
            clamp=args.clamp,
        )

    convert_file(parser, args.src, args.dst, convert)


def _refuse_what_has_no_meaning(parser, args):
    if args.task not in (None, 'cls'):
        parser.error('--from-convnext takes no other task than cls')
    if args.no_share or args.columns_first or args.clamp is not None:
        parser.error(
            '--from-convnext takes none of --no-share, --columns-first, --clamp and '
            '--no-clamp: a plain ConvNeXt has no positions'
        )


if __name__ == '__main__':
    main()
