"""Convert a checkpoint of mmdcls for the authors' ConvNeXt-dcls repository."""

from mmdcls.command_line import (
    ArgumentParser,
    add_conversion_arguments,
    convert_file,
)


def main() -> None:
    """Convert one file."""
    parser = ArgumentParser(__doc__, 'CHECKPOINT official.pth')
    add_conversion_arguments(
        parser, config='the config of SRC, if it is of no released size'
    )
    args = parser.parse_args()

    def convert():
        from mmdcls.converters import mmdcls_to_official

        return mmdcls_to_official(
            args.src,
            args.task,
            args.config,
            share_positions=not args.no_share,
            columns_first=args.columns_first,
        )

    convert_file(parser, args.src, args.dst, convert)


if __name__ == '__main__':
    main()
