"""How ``--tune`` finds the fastest backends, and the table it writes."""

import functools
from collections.abc import Callable
from pathlib import Path

import torch

from mmdcls.files import write_text
from mmdcls.ops.backends import BACKENDS, OPERATIONS, choices, tuning

from .layers import Settings
from .timing import interleaved


def tune(settings: Settings) -> dict[str, dict[int, list[str]]]:
    """Measure the fastest backend per operation, kernel size and map size.

    Times count relative to those of 'aten', so that each batch size has the same say.
    """
    table: dict[str, dict[int, list[str]]] = {
        name: {size: [] for size in settings.tuned_kernel_sizes} for name in OPERATIONS
    }
    channels_of = {size: channels for channels, size in settings.stages}
    for kernel_size in settings.tuned_kernel_sizes:
        for map_size in choices.MAP_SIZES:
            total: dict[str, dict[str, float]] = {name: {} for name in OPERATIONS}
            for batch_size in settings.batch_sizes:
                shape = (batch_size, channels_of[map_size], map_size, map_size)
                for operation, times in time_backends(
                    shape, kernel_size, settings
                ).items():
                    for name, value in times.items():
                        relative = value / times['aten'] / len(settings.batch_sizes)
                        total[operation].setdefault(name, 0)
                        total[operation][name] += relative
            for operation, times in total.items():
                best = tuning.fastest(times)
                table[operation][kernel_size].append(best)
                print(
                    f'{kernel_size:3d} on {map_size:3d}, {operation}: {best};', end=''
                )
                print(''.join(f'  {name} {time:.2f}' for name, time in times.items()))
    return table


def time_backends(
    shape: tuple[int, ...], kernel_size: int, settings: Settings
) -> dict[str, dict[str, float]]:
    """Measure milliseconds of each operation on each backend that can run it."""
    # Taps beyond the map are cut by depthwise_conv2d before a backend sees them.
    k = min(kernel_size, 2 * shape[2] - 1)
    size, padding = (k, k), (k // 2, k // 2)
    x = torch.empty(shape, dtype=settings.dtype, device=settings.device)
    x = x.to(memory_format=torch.channels_last)
    times = {}
    for operation in OPERATIONS:
        arguments = tuning.make_arguments(operation, x, size, padding)
        contenders: dict[str, Callable[[], object]] = {
            name: functools.partial(getattr(backend, operation), *arguments)
            for name, backend in BACKENDS.items()
            if name != 'implicit_gemm' and backend.can_run(operation, x, size, padding)
        }
        with torch.no_grad():
            times[operation] = interleaved(
                contenders, settings.repetitions, settings.device
            )
    return times


def write_choices(path: Path, key: tuple[str, str], table: dict) -> None:
    """Replace one entry of the table in ``path`` (``backends/choices.py``)."""
    entries = dict(sorted((choices.CHOICES | {key: table}).items()))
    lines = [f'"""{choices.__doc__}"""', '']
    lines += [f'MAP_SIZES = {choices.MAP_SIZES!r}', 'CHOICES = {']
    for entry, operations in entries.items():
        lines.append(f'    {entry!r}: {{')
        for operation, rows in operations.items():
            lines.append(f'        {operation!r}: {{')
            for kernel_size, names in rows.items():
                lines.append(f'            {kernel_size}: {tuple(names)!r},')
            lines.append('        },')
        lines.append('    },')
    write_text(path, '\n'.join([*lines, '}', '']))
