"""Check and time everything that a GPU is needed for, in one command of 8 minutes.

Writes OUT.md and OUT.json after every row: parity of all kernels on the device, layers
and whole models against plain ConvNeXt and against PyTorch's convolutions, what each
backend takes, torch.compile, CUDA graphs and peak memory. What fails says so, what
there is no time or no GPU for is left out by name, and the rest goes on; the exit
status is 1 if a result is wrong or something failed. ``--into docs/operators.md`` puts
the tables of a finished report into that page instead.
"""

import sys
from pathlib import Path

from mmdcls.command_line import ArgumentParser, hide_gpus, number_within


def main() -> None:
    """Write the report, or put one into a document."""
    parser = ArgumentParser(__doc__, 'work_dirs/h100')
    parser.add_argument('out', help='path of the report, without a suffix')
    parser.add_argument(
        '--minutes',
        type=number_within(0.1, 1440),
        default=8.0,
        help='time that it may take; default: 8',
    )
    parser.add_argument(
        '--only', nargs='+', default=[], metavar='TITLE', help='sections to run'
    )
    parser.add_argument(
        '--into',
        type=Path,
        metavar='PAGE',
        help='put OUT.json into a page; run nothing',
    )
    parser.add_argument(
        '--quick', action='store_true', help='small models, once: only to see it run'
    )
    parser.add_argument(
        '--device', choices=['auto', 'cpu'], default='auto', help='cpu hides the GPUs'
    )
    args = parser.parse_args()
    hide_gpus(args.device)
    with parser.one_sentence_errors():
        from mmdcls.files import read_json
        from mmdcls.ops.benchmark.complete import insert_report

        if args.into:
            insert_report(read_json(f'{args.out}.json'), args.into)
            print(f'Written: {args.into}')
            return
        from mmdcls.analysis.device_report import write_device_report

        if not write_device_report(args.out, args.minutes, args.only, args.quick):
            sys.exit(f"Something failed: '{args.out}.md' says what.")


if __name__ == '__main__':
    main()
