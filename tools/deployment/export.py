"""Export a trained model to ONNX, TorchScript or torch.export, checked on images.

OUT's ending chooses: .onnx, .pt (TorchScript) or .pt2 (torch.export). DCLS layers and
the batch norms of ResNetDCLS are folded first. The file takes any number of images of
any size, RGB if they have three channels, and gives logits (classification,
segmentation) or the feature pyramid (detection). It is written only if its outputs are
those of PyTorch.
"""

from mmdcls.command_line import (
    ArgumentParser,
    add_cfg_options,
    number_within,
    whole_number,
)


def main() -> None:
    """Export one model."""
    parser = ArgumentParser(__doc__, 'CONFIG CHECKPOINT model.onnx --shape 512 512')
    parser.add_argument('config', help='the config that CKPT was trained with')
    parser.add_argument('ckpt', help='its checkpoint, folded or not')
    parser.add_argument('out', help='the file to write (.onnx, .pt or .pt2)')
    parser.add_argument(
        '--images',
        nargs='+',
        default=[],
        help='image files, or folders of them, to compare outputs on; default: '
        'photographs of scikit-image and scikit-learn',
    )
    parser.add_argument(
        '--shape',
        type=whole_number(1),
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        default=(224, 224),
        help='the size to compare outputs at, besides a larger one; default: 224 224',
    )
    parser.add_argument(
        '--tolerance',
        type=number_within(0, 1),
        default=1e-5,
        help='how much outputs may differ, relative to the largest; default: 1e-5',
    )
    parser.add_argument(
        '--opset',
        type=int,
        help="version of ONNX's operators that the file needs; default: 18",
    )
    with parser.one_sentence_errors():
        add_cfg_options(parser)
    args = parser.parse_args()

    with parser.one_sentence_errors():
        from mmdcls.deployment import export

        checks = export(
            args.config,
            args.ckpt,
            args.out,
            images=args.images,
            shape=tuple(args.shape),
            tolerance=args.tolerance,
            options=args.cfg_options,
            opset=args.opset,
        )
        for check in checks:
            print(
                f'{" x ".join(map(str, check.shape))}: outputs differ from those of '
                f'PyTorch by at most {check.difference:.1e} of the largest.'
            )
        print(f'Written: {args.out}')


if __name__ == '__main__':
    main()
