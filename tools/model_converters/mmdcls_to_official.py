"""Convert a checkpoint of mmdcls for the authors' ConvNeXt-dcls repository."""

import argparse

from mmdcls.command_line import one_sentence_errors


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='a checkpoint of ours (.pth or .safetensors)')
    parser.add_argument('dst', help='the file to write (.pth)')
    parser.add_argument(
        '--task',
        choices=['cls', 'seg', 'det'],
        help='refuse a file for another task; by default the file tells',
    )
    parser.add_argument(
        '--config', help='the config of SRC, if it is of no released size'
    )
    parser.add_argument(
        '--no-share',
        action='store_true',
        help='accept positions that differ within a stage',
    )
    args = parser.parse_args()

    from mmdcls.converters import (
        check_destination,
        mmdcls_to_official,
        write_checkpoint,
    )

    with one_sentence_errors():
        check_destination(args.src, args.dst)
        conversion = mmdcls_to_official(
            args.src, args.task, args.config, share_positions=not args.no_share
        )
        conversion.print_summary()
        conversion.check()
        write_checkpoint(conversion.content, args.dst)
        print(f'Written: {args.dst}')


if __name__ == '__main__':
    main()
