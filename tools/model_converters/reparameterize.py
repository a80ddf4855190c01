"""Fold a model's DCLS layers into plain convolutions, for deployment."""

import argparse

from mmdcls.command_line import one_sentence_errors


def main() -> None:
    """Fold one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config that SRC was trained with')
    parser.add_argument('src', help='its checkpoint')
    parser.add_argument('dst', help='the file to write (.pth)')
    args = parser.parse_args()

    from mmdcls.converters import check_destination, write_checkpoint
    from mmdcls.converters.reparameterize import reparameterize

    with one_sentence_errors():
        check_destination(args.src, args.dst)
        result = reparameterize(args.config, args.src)
        write_checkpoint(result.content, args.dst)
    print(
        f'{result.layers} layers folded; features of a random image differ by at most '
        f'{result.difference:.1e} of the largest.'
    )
    print(f'Written: {args.dst}, for {args.config} with')
    print(f'  --cfg-options {" ".join(result.options)}')


if __name__ == '__main__':
    main()
