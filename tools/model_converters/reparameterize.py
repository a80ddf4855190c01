"""Fold a model's positions and batch norms into plain convolutions, for deployment."""

import argparse

from mmdcls.command_line import convert_file


def main() -> None:
    """Fold one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config that SRC was trained with')
    parser.add_argument('src', help='its checkpoint')
    parser.add_argument('dst', help='the file to write (.pth)')
    args = parser.parse_args()

    def convert():
        from mmdcls.deployment.fold import reparameterize

        return reparameterize(args.config, args.src)

    convert_file(args.src, args.dst, convert)


if __name__ == '__main__':
    main()
