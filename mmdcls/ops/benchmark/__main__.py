"""Time the DCLS operators against what they replace, on CPU or GPU.

Needs torch alone (and Triton on a GPU); the released package ``dcls`` joins the
comparison where it is installed. Prints Markdown tables, after a parity check::

    python -m mmdcls.ops.benchmark
    python -m mmdcls.ops.benchmark --device cuda --dtype float16
    python -m mmdcls.ops.benchmark --tune   # rewrite the backend table
    python -m mmdcls.ops.benchmark --report OUT   # all that a device is needed for
    python -m mmdcls.ops.benchmark --model   # what a GPU takes at least, modelled

All times are medians over repetitions in which the contenders take turns, so that a
busy machine slows all of them; compare the ratios.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from mmdcls.files import write_json, write_text
from mmdcls.ops.backends import choices

from . import roofline
from .complete import write_complete_report
from .contenders import ReleasedDcls2d
from .layers import (
    KERNEL_COUNT,
    KERNEL_SIZE,
    Rates,
    Settings,
    check_parity,
    default_settings,
    measure_rates,
    time_construction,
    time_growth,
    time_layers,
)
from .report import to_markdown
from .sections import SECTIONS
from .table import tune, write_choices
from .timing import describe_device


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f'must be a whole number of at least 1, got {text!r}'
        )
    return int(text)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line and choose the device."""
    parser = argparse.ArgumentParser(
        prog='python -m mmdcls.ops.benchmark', description=__doc__.split('\n')[0]
    )
    parser.add_argument('--device', help='default: cuda where there is one, else cpu')
    parser.add_argument(
        '--dtype',
        default='float32',
        choices=['float64', 'float32', 'float16', 'bfloat16'],
    )
    parser.add_argument(
        '--batch-sizes',
        type=_positive,
        nargs='+',
        help='default: 4 16, on a GPU 64 128',
    )
    parser.add_argument(
        '--threads', type=_positive, help="CPU threads; default: torch's"
    )
    parser.add_argument('--repetitions', type=_positive, default=9)
    parser.add_argument(
        '--compile',
        action='store_true',
        help='also time the construction of kernels under torch.compile',
    )
    parser.add_argument(
        '--out', type=Path, help='also write OUT.md and OUT.json (no suffix in OUT)'
    )
    parser.add_argument(
        '--report',
        help='check and time all dtypes, memory formats and backends instead; writes '
        'OUT.md and OUT.json, section by section',
        metavar='OUT',
    )
    parser.add_argument(
        '--minutes',
        type=float,
        default=8.0,
        help='how long --report may take before it leaves out the rest; default: 8',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        default=[],
        choices=SECTIONS,
        metavar='TITLE',
        help=f'sections for --report, of: {", ".join(SECTIONS)}; default: all',
    )
    parser.add_argument(
        '--model',
        action='store_true',
        help='print what a model says of two GPUs; measures nothing',
    )
    parser.add_argument(
        '--tune',
        action='store_true',
        help='time all backends and write the fastest to --choices; nothing else',
    )
    parser.add_argument(
        '--choices',
        type=Path,
        default=Path(choices.__file__),
        help='file that --tune writes; default: the one in use',
    )
    parser.add_argument(
        '--quick', action='store_true', help='few channels, once: only to see it run'
    )
    args = parser.parse_args(arguments)
    cuda = torch.cuda.is_available()
    if not args.minutes > 0:
        parser.error(f'--minutes must be more than 0, got {args.minutes}')
    for out in filter(None, (args.out, args.report)):
        try:
            Path(out).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f'{out} cannot be written: {error.strerror}')
    try:
        args.device = torch.device(args.device or ('cuda' if cuda else 'cpu'))
    except RuntimeError:
        parser.error(f'--device {args.device}: PyTorch knows no such device')
    if args.device.type == 'cuda' and not cuda:
        parser.error(f'--device {args.device}: PyTorch finds no GPU here')
    return args


def read_settings(args: argparse.Namespace) -> Settings:
    """Turn what the command line asks for into settings."""
    settings = default_settings(args.device, args.quick)
    return replace(
        settings,
        dtype=getattr(torch, args.dtype),
        batch_sizes=tuple(args.batch_sizes or settings.batch_sizes),
        repetitions=1 if args.quick else args.repetitions,
        released=ReleasedDcls2d is not None and not args.report,
        compile=args.compile,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(arguments)
    if args.model:
        print(roofline.to_markdown(), end='')
        return
    settings = read_settings(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.report:
        done = write_complete_report(
            settings, args.report, args.minutes, SECTIONS, args.only
        )
        sys.exit(not done)
    check_parity(settings.device, settings.dtype)
    if args.tune:
        write_choices(args.choices, (args.device.type, args.dtype), tune(settings))
        return
    rates = measure_rates(settings)
    report = {
        'environment': describe(settings, rates),
        'layers': time_layers(settings, rates),
        'growth': time_growth(settings),
        'construction': time_construction(settings),
    }
    text = to_markdown(report, KERNEL_SIZE, KERNEL_COUNT)
    print(text)
    if args.out:
        write_text(f'{args.out}.md', text)
        write_json(f'{args.out}.json', report)


def describe(settings: Settings, rates: Rates) -> dict:
    """Collect what the figures depend on."""
    device = settings.device
    description = {
        **describe_device(device),
        'dtype': str(settings.dtype).removeprefix('torch.'),
        'repetitions': settings.repetitions,
        'parity': 'passed',
        'copy bandwidth, GB/s': round(rates.copy_bandwidth / 1e9),
    }
    if rates.product_rate:
        rate = round(rates.product_rate / 1e9)
        description['matrix product, 1e9 multiply-adds/s'] = rate
    if ReleasedDcls2d is None:
        description['released package'] = 'not installed'
    return description


if __name__ == '__main__':
    main()
