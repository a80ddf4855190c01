"""Print a config's parameters and FLOPs, as the paper's tables count them."""

import argparse
import json

from mmdcls.command_line import one_sentence_errors, parse_arguments


def main() -> None:
    """Count what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='a config of mmpretrain, mmseg or mmdet')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="the image's size; defaults to the paper's for the task",
    )
    parser.add_argument('--json', action='store_true', help='print exact numbers')
    args = parse_arguments(parser)

    # After the command line is read, so that --device can hide the GPUs from torch.
    from mmdcls.analysis.complexity import complexity_of_config
    from mmdcls.analysis.reports import silence_mmengine
    from mmdcls.apis.launch import load_config

    silence_mmengine()
    with one_sentence_errors():
        result = complexity_of_config(load_config(args), args.shape)
        if args.json:
            print(json.dumps(result.as_dict()))
            return
        height, width = result.shape
        print(f'Image:      {result.channels} x {height} x {width}')
        print(f'Parameters: {result.parameters / 1e6:.1f} M')
        print(f'FLOPs:      {result.flops / 1e9:.1f} G multiply-accumulates')


if __name__ == '__main__':
    main()
