"""The parts of the benchmark: layers, growth with the kernel's size, construction."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mmdcls.compat import allows_tf32
from mmdcls.ops.kernel import INTERPOLATIONS

from .contenders import (
    DCLSLayer,
    construction_step,
    inference,
    released_layer,
    train_step,
)
from .timing import copy_bandwidth, interleaved, peak_memory, product_rate

# Channels and map size of the stages of ConvNeXt-T at 224 x 224.
STAGES = ((96, 56), (192, 28), (384, 14), (768, 7))
KERNEL_SIZE, KERNEL_COUNT = 17, 34
GROWTH_SIZES = (7, 11, 17, 21, 27, 31)
TUNED_KERNEL_SIZES = (7, 17, 21, 31, 51)

# Shapes of maps and sizes of kernels that a report checks: odd sizes, maps smaller than
# the kernel, and rows that no load of 16 bytes is aligned with.
PARITY_CASES = (
    ((2, 8, 56, 56), (17, 17)),
    ((5, 8, 7, 7), (13, 13)),
    ((3, 4, 25, 41), (17, 17)),
    ((1, 2, 40, 100), (31, 31)),
    ((2, 3, 12, 20), (4, 6)),
)

# Name of a model: the batch, and height and width of the maps of its first stage.
MODELS = {'ImageNet': (64, 56, 56), 'UperNet': (2, 128, 128), 'Cascade': (1, 200, 320)}


@dataclass(frozen=True)
class Settings:
    """What the benchmark times, and how.

    Attributes:
        device: The device that everything runs on.
        dtype: Data type of the maps and of the plain layers.
        batch_sizes: Numbers of images; the first one where one is enough.
        repetitions: Number of times that each contender gets its turn.
        released: Whether the released package joins the comparison.
        compile: Whether to time the construction under ``torch.compile``, too.
        dtypes: Data types of a complete report, the most important one first.
        stages: Channels and map size of each stage.
        growth_sizes: Dilated kernel sizes of the table of growth.
        tuned_kernel_sizes: Kernel sizes that ``--tune`` chooses backends for.
        construction: Channels and elements of the kernels that are built.
    """

    device: torch.device
    dtype: torch.dtype
    batch_sizes: tuple[int, ...]
    repetitions: int = 9
    released: bool = False
    compile: bool = False
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    stages: tuple[tuple[int, int], ...] = STAGES
    growth_sizes: tuple[int, ...] = GROWTH_SIZES
    tuned_kernel_sizes: tuple[int, ...] = TUNED_KERNEL_SIZES
    construction: tuple[int, int] = (1024, 40)


def default_settings(device: torch.device, quick: bool = False) -> Settings:
    """Return the settings of a device.

    Args:
        device: The device.
        quick: Whether to use few channels and measure once, only to see it run.
    """
    if device.type == 'cuda':
        dtypes = torch.float16, torch.bfloat16, torch.float32
        settings = Settings(device, torch.float32, (64, 128), dtypes=dtypes)
    else:
        settings = Settings(device, torch.float32, (4, 16))
    if not quick:
        return settings
    return replace(
        settings,
        batch_sizes=settings.batch_sizes[:1],
        repetitions=1,
        stages=tuple((16, size) for _, size in STAGES),
        growth_sizes=(7, KERNEL_SIZE),
        tuned_kernel_sizes=(7, 17),
        construction=(16, 4),
    )


def model_shapes(settings: Settings) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Return the name of each of :data:`MODELS` and the shape of its maps, by stage."""
    return [
        (model, (batch, channels, height >> stage, width >> stage))
        for model, (batch, height, width) in MODELS.items()
        for stage, (channels, _) in enumerate(settings.stages)
    ]


@dataclass(frozen=True)
class Rates:
    """What the layers' times are compared with.

    Attributes:
        copy_bandwidth: Bytes per second read and written by a large copy.
        product_rate: Multiply-adds per second of a large matrix product; only on a CPU.
    """

    copy_bandwidth: float
    product_rate: float | None = None


def tolerance(dtype: torch.dtype, device: torch.device) -> float:
    """Return the largest accepted difference from float64, relative to its largest."""
    if dtype == torch.float32 and device.type == 'cuda' and allows_tf32():
        return 2e-2
    return {torch.float64: 1e-9, torch.float32: 1e-4}.get(dtype, 2e-2)


def check_parity(device: torch.device, dtype: torch.dtype) -> None:
    """Compare the layer with ``F.conv2d`` in float64 on every map size.

    Raises:
        AssertionError: If outputs or gradients differ by more than rounding.
    """
    limit = tolerance(dtype, device)
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
            expected = F.conv2d(exact[0], exact[1], padding=size // 2, groups=8)
            wanted = torch.autograd.grad(expected, exact, grad_output.double())
            for ours, theirs in zip(
                (output, *actual), (expected, *wanted), strict=True
            ):
                error = (ours - theirs).abs().max() / theirs.abs().max()
                assert error < limit, (
                    f'kernel {size}, map {map_size}: relative error {error:.1e} is '
                    f'above {limit:.0e}; nothing was timed.'
                )


def measure_rates(settings: Settings) -> Rates:
    """Measure what the layers' times are compared with."""
    on_cpu = settings.device.type == 'cpu'
    return Rates(
        copy_bandwidth(settings.device),
        product_rate(settings.dtype) if on_cpu else None,
    )


def time_stage(
    channels: int, map_size: int, batch_size: int, settings: Settings
) -> dict[str, dict[str, float]]:
    """Time the layers of one stage; milliseconds by mode and contender."""
    device, dtype = settings.device, settings.dtype
    x = torch.randn(batch_size, channels, map_size, map_size, device=device).to(dtype)
    grad_output = torch.randn_like(x)
    last = torch.channels_last
    x_last, grad_last = (t.contiguous(memory_format=last) for t in (x, grad_output))
    layer = DCLSLayer(channels, KERNEL_SIZE, KERNEL_COUNT).to(device)
    plain = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
    plain = plain.to(device, dtype)
    plain_last = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
    plain_last = plain_last.to(device, dtype)
    plain_last.to(memory_format=last)  # type: ignore[call-overload]
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
    if device.type == 'cuda':  # On a CPU all maps become channels_last.
        infer['dcls nchw'] = inference(layer, x, kernel)
        train['dcls nchw'] = train_step(layer, x, grad_output)
        aten = copy.copy(layer)
        aten.backend = 'aten'
        infer['aten'] = inference(aten, x_last, kernel)
        train['aten'] = train_step(aten, x_last, grad_last)
        infer['aten nchw'] = inference(aten, x, kernel)
        train['aten nchw'] = train_step(aten, x, grad_output)
    if settings.released and dtype == torch.float32:
        released = released_layer(layer)
        infer['released'] = inference(released, x)
        train['released'] = train_step(released, x, grad_output)
    return {
        'inference': interleaved(infer, settings.repetitions, device),
        'train': interleaved(train, settings.repetitions, device),
    }


def time_layers(settings: Settings, rates: Rates) -> list[dict]:
    """Time all stages and their sums; a row each, with ratios."""
    rows = []
    for batch_size in settings.batch_sizes:
        stages = [
            (
                f'{channels}x{size}x{size}',
                time_stage(channels, size, batch_size, settings),
            )
            for channels, size in settings.stages
        ]
        for mode in ('inference', 'train'):
            total = {
                name: sum(times[mode][name] for _, times in stages)
                for name in stages[0][1][mode]
            }
            for stage, times in [*((s, t[mode]) for s, t in stages), ('sum', total)]:
                row: dict[str, Any] = {
                    'batch': batch_size,
                    'mode': mode,
                    'stage': stage,
                    'ms': times,
                }
                row['ratio'] = {
                    name: value / times['dcls']
                    for name, value in times.items()
                    if not name.startswith('dcls')
                }
                if settings.device.type == 'cuda' and stage != 'sum':
                    row['bandwidth'] = bandwidth_fraction(row, settings, rates)
                if settings.device.type == 'cpu' and mode == 'inference':
                    row['arithmetic'] = arithmetic_fraction(row, settings, rates)
                rows.append(row)
    return rows


def bandwidth_fraction(row: dict, settings: Settings, rates: Rates) -> float:
    """Give the unavoidable memory traffic per second, relative to a plain copy's."""
    channels, size = stage_of(row['stage'])
    values = row['batch'] * channels * size * size
    # Forward reads x and writes y; each of the two gradients moves two maps as well.
    maps = {'inference': 2, 'train': 6}[row['mode']]
    traffic = maps * values * torch.finfo(settings.dtype).bits / 8
    return traffic / (row['ms']['dcls'] / 1e3) / rates.copy_bandwidth


def arithmetic_fraction(row: dict, settings: Settings, rates: Rates) -> float:
    """Give the products per second, relative to those of a large matrix product.

    Counted are those with values of the map, not those with padding.
    """
    stages = settings.stages if row['stage'] == 'sum' else [stage_of(row['stage'])]
    products = sum(
        row['batch'] * channels * taps_inside(size) ** 2 for channels, size in stages
    )
    assert rates.product_rate is not None
    return products / (row['ms']['dcls'] / 1e3) / rates.product_rate


def taps_inside(size: int, kernel_size: int = KERNEL_SIZE) -> int:
    """Count the pairs of an output and a tap that lie inside of one row of the map."""
    reach = kernel_size // 2
    return sum(
        min(size - 1, position + reach) - max(0, position - reach) + 1
        for position in range(size)
    )


def stage_of(name: str) -> tuple[int, int]:
    """Give the channels and the map size of a stage by its name."""
    channels, size, _ = map(int, name.split('x'))
    return channels, size


def time_growth(settings: Settings) -> list[dict]:
    """Time a training step by dilated kernel size, summed over the stages."""
    batch_size = settings.batch_sizes[0]
    totals = dict.fromkeys(settings.growth_sizes, 0.0)
    for channels, size in settings.stages:
        x = torch.randn(batch_size, channels, size, size, device=settings.device)
        x = x.to(settings.dtype, memory_format=torch.channels_last)
        steps = {
            str(kernel_size): train_step(
                DCLSLayer(channels, kernel_size, KERNEL_COUNT).to(settings.device),
                x,
                torch.randn_like(x),
            )
            for kernel_size in settings.growth_sizes
        }
        for name, value in interleaved(
            steps, settings.repetitions, settings.device
        ).items():
            totals[int(name)] += value
    return [
        {'kernel_size': size, 'ms': value, 'ratio': value / totals[KERNEL_SIZE]}
        for size, value in totals.items()
    ]


def time_construction(settings: Settings) -> list[dict]:
    """Time the construction of kernels, forward and backward, and its peak memory."""
    channels, count = settings.construction
    rows = []
    for interpolation in INTERPOLATIONS:
        layer = DCLSLayer(channels, KERNEL_SIZE, count, interpolation)
        layer = layer.to(settings.device)
        grad_kernel = torch.randn_like(layer.construct_kernel())
        steps = {'dcls': construction_step(layer, grad_kernel)}
        if settings.compile:
            compiled = copy.deepcopy(layer)
            build = torch.compile(compiled.construct_kernel, fullgraph=True)
            compiled.construct_kernel = build  # type: ignore[method-assign]
            steps['dcls, compiled'] = construction_step(compiled, grad_kernel)
        if settings.released:
            steps['released'] = construction_step(released_layer(layer), grad_kernel)
        times = interleaved(steps, settings.repetitions, settings.device)
        for name, step in steps.items():
            row = {'interpolation': interpolation, 'name': name, 'ms': times[name]}
            row['peak_mb'] = peak_memory(step, settings.device) / 2**20
            rows.append(row)
    return rows
