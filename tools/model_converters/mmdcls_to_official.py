"""Convert a checkpoint of mmdcls for the authors' ConvNeXt-dcls repository."""

import argparse

from mmdcls.command_line import add_conversion_arguments, convert_file


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__)
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

    convert_file(args.src, args.dst, convert)


if __name__ == '__main__':
    main()
