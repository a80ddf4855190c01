"""Print a config's parameters and FLOPs, as the paper's tables count them."""

import json

from mmdcls.command_line import (
    ArgumentParser,
    config_settings,
    parse_arguments,
    whole_number,
)


def main() -> None:
    """Count what the command line asks for."""
    parser = ArgumentParser(__doc__, 'CONFIG --shape 512 512')
    parser.add_argument('config', help='a config of mmpretrain, mmseg or mmdet')
    parser.add_argument(
        '--shape',
        type=whole_number(1),
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="the image's size; defaults to the paper's for the task",
    )
    parser.add_argument('--json', action='store_true', help='print exact numbers')
    args = parse_arguments(parser, flags=())

    with parser.one_sentence_errors():
        # After the command line is read, so that --device can hide the GPUs from torch.
        from mmdcls.analysis.complexity import complexity_of_config
        from mmdcls.analysis.reports import silence_mmengine
        from mmdcls.apis.launch import load_config

        silence_mmengine()
        result = complexity_of_config(
            load_config(args.config, **config_settings(args)), args.shape
        )
        if args.json:
            print(json.dumps(result.as_dict()))
            return
        height, width = result.shape
        print(f'Image:      {result.channels} x {height} x {width}')
        print(f'Parameters: {result.parameters / 1e6:.1f} M')
        print(f'FLOPs:      {result.flops / 1e9:.1f} G multiply-accumulates')


if __name__ == '__main__':
    main()
