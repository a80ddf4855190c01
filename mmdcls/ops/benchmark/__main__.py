"""Time the DCLS operators against what they replace, on CPU or GPU.

Needs torch alone (and Triton on a GPU); the released package ``dcls`` joins the
comparison where it is installed. Prints Markdown tables, after a parity check::

    python -m mmdcls.ops.benchmark
    python -m mmdcls.ops.benchmark --device cuda --dtype float16
    python -m mmdcls.ops.benchmark --tune   # rewrite the backend table
    python -m mmdcls.ops.benchmark --report OUT   # all that a device is needed for

All times are medians over repetitions in which the contenders take turns, so that a
busy machine slows all of them; compare the ratios.
"""

import argparse
import sys
from pathlib import Path

import torch

from mmdcls.files import write_json, write_text
from mmdcls.ops.backends import choices

from .complete import write_complete_report
from .contenders import ReleasedDcls2d
from .layers import (
    GROWTH_SIZES,
    KERNEL_COUNT,
    KERNEL_SIZE,
    STAGES,
    check_parity,
    measure_rates,
    time_construction,
    time_growth,
    time_layers,
)
from .report import to_markdown
from .table import tune, write_choices
from .timing import describe_device

TUNED_KERNEL_SIZES = (7, 17, 21, 31, 51)
# Of a complete report, the most important one first; without and with a GPU.
DTYPES = ((torch.float32,), (torch.float16, torch.bfloat16, torch.float32))


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line and fill in what depends on the device."""
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
        '--batch-sizes', type=int, nargs='+', help='default: 4 16, on a GPU 64 128'
    )
    parser.add_argument('--threads', type=int, help="CPU threads; default: torch's")
    parser.add_argument('--repetitions', type=int, default=9)
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
        default=7.0,
        help='how long --report may take before it leaves out the rest; default: 7',
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
    options = parser.parse_args(arguments)
    cuda = torch.cuda.is_available()
    options.device = torch.device(options.device or ('cuda' if cuda else 'cpu'))
    if options.device.type == 'cuda' and not cuda:
        parser.error(f'--device {options.device}: PyTorch finds no GPU here')
    options.dtype = getattr(torch, options.dtype)
    if options.batch_sizes is None:
        on_gpu = options.device.type == 'cuda'
        options.batch_sizes = [64, 128] if on_gpu else [4, 16]
    options.released = ReleasedDcls2d is not None and not options.report
    options.dtypes = DTYPES[options.device.type == 'cuda']
    options.stages, options.growth_sizes = STAGES, GROWTH_SIZES
    options.tuned_kernel_sizes = TUNED_KERNEL_SIZES
    if options.quick:
        options.stages = tuple((16, size) for _, size in STAGES)
        options.growth_sizes, options.tuned_kernel_sizes = (7, KERNEL_SIZE), (7, 17)
        options.batch_sizes, options.repetitions = options.batch_sizes[:1], 1
    return options


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.report:
        sys.exit(not write_complete_report(options))
    check_parity(options.device, options.dtype)
    if options.tune:
        key = (options.device.type, str(options.dtype).removeprefix('torch.'))
        write_choices(options.choices, key, tune(options))
        return
    measure_rates(options)
    report = {
        'environment': describe(options),
        'layers': time_layers(options),
        'growth': time_growth(options),
        'construction': time_construction(options),
    }
    text = to_markdown(report, KERNEL_SIZE, KERNEL_COUNT)
    print(text)
    if options.out:
        write_text(f'{options.out}.md', text)
        write_json(f'{options.out}.json', report)


def describe(options):
    """What the figures depend on."""
    device = options.device
    description = {
        **describe_device(device),
        'dtype': str(options.dtype).removeprefix('torch.'),
        'repetitions': options.repetitions,
        'parity': 'passed',
        'copy bandwidth, GB/s': round(options.copy_bandwidth / 1e9),
    }
    if device.type == 'cpu':
        rate = round(options.product_rate / 1e9)
        description['matrix product, 1e9 multiply-adds/s'] = rate
    if ReleasedDcls2d is None:
        description['released package'] = 'not installed'
    return description


if __name__ == '__main__':
    main()
