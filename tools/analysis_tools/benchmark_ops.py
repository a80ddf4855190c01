"""Time the DCLS operators against what they replace, on CPU or GPU.

Needs torch alone (and Triton on a GPU); the released package ``dcls`` joins the
comparison where it is installed. Prints Markdown tables, after a parity check::

    python tools/analysis_tools/benchmark_ops.py
    python tools/analysis_tools/benchmark_ops.py --device cuda --dtype float16
    python tools/analysis_tools/benchmark_ops.py --tune   # rewrite the backend table

All times are medians over repetitions in which the contenders take turns, so that a
busy machine slows all of them; compare the ratios.
"""

import argparse
import copy
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

# The script works from a clone, without an installation.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from ops_report import to_markdown  # noqa: E402
from ops_timing import (  # noqa: E402
    DCLSLayer,
    ReleasedDcls2d,
    construction_step,
    copy_bandwidth,
    inference,
    interleaved,
    peak_memory,
    product_rate,
    released_layer,
    train_step,
)
from ops_tuning import tune, write_choices  # noqa: E402

from mmdcls.files import write_text  # noqa: E402
from mmdcls.ops.backends import choices  # noqa: E402
from mmdcls.ops.kernel import INTERPOLATIONS  # noqa: E402

# Channels and map size of the stages of ConvNeXt-T at 224 x 224.
STAGES = ((96, 56), (192, 28), (384, 14), (768, 7))
KERNEL_SIZE, KERNEL_COUNT = 17, 34
GROWTH_SIZES = (7, 11, 17, 21, 27, 31)
TUNED_KERNEL_SIZES = (7, 17, 21, 31, 51)


def check_parity(device: torch.device, dtype: torch.dtype) -> None:
    """Compare the layer with ``F.conv2d`` in float64 on every map size.

    Raises:
        AssertionError: If outputs or gradients differ by more than rounding.
    """
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-4}.get(dtype, 2e-2)
    for size in (KERNEL_SIZE, GROWTH_SIZES[-1]):
        for _, map_size in STAGES:
            layer = DCLSLayer(8, size, KERNEL_COUNT).to(device)
            x = torch.randn(2, 8, map_size, map_size, device=device).to(dtype)
            x.requires_grad_()
            kernel = layer.construct_kernel().detach().to(dtype).requires_grad_()
            output = layer(x, kernel)
            grad_output = torch.randn_like(output)
            actual = torch.autograd.grad(output, (x, kernel), grad_output)
            exact = [t.detach().double().requires_grad_() for t in (x, kernel)]
            expected = F.conv2d(*exact, padding=size // 2, groups=8)
            wanted = torch.autograd.grad(expected, exact, grad_output.double())
            for ours, theirs in zip(
                (output, *actual), (expected, *wanted), strict=True
            ):
                error = (ours - theirs).abs().max() / theirs.abs().max()
                assert error < tolerance, (
                    f'kernel {size}, map {map_size}: relative error {error:.1e} is '
                    f'above {tolerance:.0e}; nothing was timed.'
                )


def time_stage(channels, map_size, batch_size, options):
    """Times of one stage in ms: ``{'inference': {...}, 'train': {...}}``."""
    device, dtype = options.device, options.dtype
    x = torch.randn(batch_size, channels, map_size, map_size, device=device).to(dtype)
    grad_output = torch.randn_like(x)
    last = torch.channels_last
    x_last, grad_last = (t.contiguous(memory_format=last) for t in (x, grad_output))
    layer = DCLSLayer(channels, KERNEL_SIZE, KERNEL_COUNT).to(device)
    plain = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
    plain = plain.to(device, dtype)
    plain_last = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
    plain_last = plain_last.to(device, dtype, memory_format=last)
    with torch.no_grad():
        kernel = layer.construct_kernel().to(dtype)
    infer = {
        # As DCLSConv2d runs in inference: it keeps its kernel.
        'dcls': inference(layer, x_last, kernel),
        'dcls, kernel built': inference(layer, x_last),
        '7x7': inference(plain, x),
        '7x7 channels_last': inference(plain_last, x_last),
    }
    train = {
        'dcls': train_step(layer, x_last, grad_last),
        '7x7': train_step(plain, x, grad_output),
        '7x7 channels_last': train_step(plain_last, x_last, grad_last),
    }
    if ReleasedDcls2d is not None and dtype == torch.float32:
        released = released_layer(layer)
        infer['released'] = inference(released, x)
        train['released'] = train_step(released, x, grad_output)
    return {
        'inference': interleaved(infer, options.repetitions, device),
        'train': interleaved(train, options.repetitions, device),
    }


def time_layers(options):
    """Times of all stages and their sums, with ratios: a list of rows."""
    rows = []
    for batch_size in options.batch_sizes:
        stages = [
            (
                f'{channels}x{size}x{size}',
                time_stage(channels, size, batch_size, options),
            )
            for channels, size in options.stages
        ]
        for mode in ('inference', 'train'):
            total = {
                name: sum(times[mode][name] for _, times in stages)
                for name in stages[0][1][mode]
            }
            for stage, times in [*((s, t[mode]) for s, t in stages), ('sum', total)]:
                row = {'batch': batch_size, 'mode': mode, 'stage': stage, 'ms': times}
                row['ratio'] = {
                    name: value / times['dcls']
                    for name, value in times.items()
                    if not name.startswith('dcls')
                }
                if options.device.type == 'cuda' and stage != 'sum':
                    row['bandwidth'] = bandwidth_fraction(row, options)
                if options.device.type == 'cpu' and mode == 'inference':
                    row['arithmetic'] = arithmetic_fraction(row, options)
                rows.append(row)
    return rows


def bandwidth_fraction(row, options):
    """Compulsory memory traffic over time, as a fraction of a plain copy's."""
    channels, size = stage_of(row['stage'])
    values = row['batch'] * channels * size * size
    # Forward reads x and writes y; each of the two gradients moves two maps as well.
    maps = {'inference': 2, 'train': 6}[row['mode']]
    traffic = maps * values * torch.finfo(options.dtype).bits / 8
    return traffic / (row['ms']['dcls'] / 1e3) / options.copy_bandwidth


def arithmetic_fraction(row, options):
    """Products of the dense convolution over time, against a matrix product's rate.

    Counted are those with values of the map, not those with padding.
    """
    stages = options.stages if row['stage'] == 'sum' else [stage_of(row['stage'])]
    products = sum(
        row['batch'] * channels * taps_inside(size) ** 2 for channels, size in stages
    )
    return products / (row['ms']['dcls'] / 1e3) / options.product_rate


def taps_inside(size):
    """Pairs of an output and a tap that lies inside of one row of the map."""
    reach = KERNEL_SIZE // 2
    return sum(
        min(size - 1, position + reach) - max(0, position - reach) + 1
        for position in range(size)
    )


def stage_of(name):
    """Channels and map size of a stage by its name."""
    channels, size, _ = map(int, name.split('x'))
    return channels, size


def time_growth(options):
    """Train step over the dilated kernel size, summed over the stages."""
    batch_size = options.batch_sizes[0]
    totals = dict.fromkeys(options.growth_sizes, 0.0)
    for channels, size in options.stages:
        x = torch.randn(batch_size, channels, size, size, device=options.device)
        x = x.to(options.dtype, memory_format=torch.channels_last)
        steps = {
            kernel_size: train_step(
                DCLSLayer(channels, kernel_size, KERNEL_COUNT).to(options.device),
                x,
                torch.randn_like(x),
            )
            for kernel_size in options.growth_sizes
        }
        for name, value in interleaved(
            steps, options.repetitions, options.device
        ).items():
            totals[name] += value
    return [
        {'kernel_size': size, 'ms': value, 'ratio': value / totals[KERNEL_SIZE]}
        for size, value in totals.items()
    ]


def time_construction(options):
    """Kernel construction, forward and backward: time and peak memory."""
    channels, count = (1024, 40) if not options.quick else (16, 4)
    rows = []
    for interpolation in INTERPOLATIONS:
        layer = DCLSLayer(channels, KERNEL_SIZE, count, interpolation)
        layer = layer.to(options.device)
        grad_kernel = torch.randn_like(layer.construct_kernel())
        steps = {'dcls': construction_step(layer, grad_kernel)}
        if options.compile:
            compiled = copy.deepcopy(layer)
            compiled.construct_kernel = torch.compile(
                compiled.construct_kernel, fullgraph=True
            )
            steps['dcls, compiled'] = construction_step(compiled, grad_kernel)
        if ReleasedDcls2d is not None:
            steps['released'] = construction_step(released_layer(layer), grad_kernel)
        times = interleaved(steps, options.repetitions, options.device)
        for name, step in steps.items():
            row = {'interpolation': interpolation, 'name': name, 'ms': times[name]}
            row['peak_mb'] = peak_memory(step, options.device) / 2**20
            rows.append(row)
    return rows


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line and fill in what depends on the device."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
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
    options.dtype = getattr(torch, options.dtype)
    if options.batch_sizes is None:
        on_gpu = options.device.type == 'cuda'
        options.batch_sizes = [64, 128] if on_gpu else [4, 16]
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
    check_parity(options.device, options.dtype)
    if options.tune:
        key = (options.device.type, str(options.dtype).removeprefix('torch.'))
        write_choices(options.choices, key, tune(options))
        return
    options.copy_bandwidth = copy_bandwidth(options.device)
    if options.device.type == 'cpu':
        options.product_rate = product_rate(options.dtype)
    report = {
        'environment': describe(options),
        'layers': time_layers(options),
        'growth': time_growth(options),
        'construction': time_construction(options),
    }
    text = to_markdown(report, KERNEL_SIZE, KERNEL_COUNT)
    print(text)
    if options.out:
        contents = {'.md': text, '.json': json.dumps(report, indent=2) + '\n'}
        for suffix, content in contents.items():
            write_text(options.out.with_suffix(suffix), content)


def describe(options):
    """What the figures depend on."""
    device = options.device
    description = {
        'device': 'CPU ' + torch.backends.cpu.get_cpu_capability(),
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'dtype': str(options.dtype).removeprefix('torch.'),
        'repetitions': options.repetitions,
        'parity': 'passed',
        'copy bandwidth, GB/s': round(options.copy_bandwidth / 1e9),
    }
    if device.type == 'cuda':
        description['device'] = torch.cuda.get_device_name(device)
    else:
        rate = round(options.product_rate / 1e9)
        description['matrix product, 1e9 multiply-adds/s'] = rate
    if ReleasedDcls2d is None:
        description['released package'] = 'not installed'
    return description


if __name__ == '__main__':
    main()
