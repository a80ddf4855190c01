"""Predict images with a config and its checkpoint; write pictures and JSON."""

import sys
from pathlib import Path

from mmdcls.command_line import ArgumentParser, add_device, hide_gpus


def main() -> None:
    """Predict what the command line names."""
    parser = ArgumentParser(
        __doc__, 'CONFIG CHECKPOINT photograph.jpg folder/ --out-dir predictions'
    )
    parser.add_argument('config', help='the config file')
    parser.add_argument('checkpoint', help='the checkpoint file')
    parser.add_argument('images', nargs='+', help='image files, or folders of them')
    parser.add_argument(
        '--out-dir', required=True, type=Path, help='where the results go'
    )
    add_device(parser)
    args = parser.parse_args()
    hide_gpus(args.device)

    unreadable = []
    with parser.one_sentence_errors():
        # After the command line is read, so that --device can hide the GPUs from torch.
        from mmdcls.apis.inference import (
            find_images,
            make_inferencer,
            name_results,
            predict,
        )
        from mmdcls.datasets.loading import UnreadableImageError

        images = find_images(args.images)
        names = name_results(images, args.out_dir)
        inferencer = make_inferencer(args.config, args.checkpoint)
        args.out_dir.mkdir(parents=True, exist_ok=True)
        for image, name in zip(images, names, strict=True):
            try:
                predict(inferencer, image, args.out_dir, name)
            except UnreadableImageError as error:
                unreadable.append(error)
                continue
            print(f'{image}: {args.out_dir / name}.png, {args.out_dir / name}.json')
    for error in unreadable:
        print(error, file=sys.stderr)
    if unreadable:
        sys.exit(
            f'error: {len(unreadable)} of {len(images)} images cannot be read; the '
            'others are done.'
        )


if __name__ == '__main__':
    main()
