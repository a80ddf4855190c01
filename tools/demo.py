"""Predict images with a config and its checkpoint; write pictures and JSON."""

import argparse
import os
import sys
from pathlib import Path

from mmdcls.command_line import one_sentence_errors


def main() -> None:
    """Predict what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='the config file')
    parser.add_argument('checkpoint', help='the checkpoint file')
    parser.add_argument('images', nargs='+', help='image files, or folders of them')
    parser.add_argument(
        '--out-dir', required=True, type=Path, help='where the results go'
    )
    parser.add_argument(
        '--device', choices=['auto', 'cpu'], default='auto', help='cpu hides the GPUs'
    )
    args = parser.parse_args()
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''

    # After the command line is read, so that --device can hide the GPUs from torch.
    from mmdcls.apis.inference import (
        UnreadableImageError,
        find_images,
        make_inferencer,
        name_results,
        predict,
    )

    unreadable = []
    with one_sentence_errors():
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
