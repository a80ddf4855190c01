"""Fold a model's positions and batch norms into plain convolutions, for deployment."""

from mmdcls.command_line import ArgumentParser, convert_file


def main() -> None:
    """Fold one checkpoint."""
    parser = ArgumentParser(__doc__, 'CONFIG CHECKPOINT folded.pth')
    parser.add_argument('config', help='the config that SRC was trained with')
    parser.add_argument('src', help='its checkpoint')
    parser.add_argument('dst', help='the file to write (.pth or .safetensors)')
    args = parser.parse_args()

    def convert():
        from mmdcls.deployment.fold import fold

        return fold(args.config, args.src)

    convert_file(parser, args.src, args.dst, convert)


if __name__ == '__main__':
    main()
