"""How the benchmark measures time and memory."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch


def describe_device(device: torch.device) -> dict:
    """Return what timings depend on: device, threads and version of PyTorch."""
    facts: dict[str, object] = {}
    if device.type == 'cuda':
        facts['device'] = torch.cuda.get_device_name(device)
    else:
        facts |= {
            'device': f'CPU, {torch.backends.cpu.get_cpu_capability()}',
            'threads': torch.get_num_threads(),
        }
    return {**facts, 'torch': torch.__version__}


def interleaved(
    contenders: dict[str, Callable[[], object]],
    repetitions: int,
    device: torch.device,
) -> dict[str, float]:
    """Measure the median time of each contender in ms, while they take turns.

    A turn starts with a call that is not timed: a contender would pay for the caches
    and the memory that the one before it has left otherwise.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repetitions):
        for name, function in contenders.items():
            function()
            synchronize(device)
            start = time.perf_counter()
            function()
            synchronize(device)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def copy_bandwidth(device: torch.device) -> float:
    """Measure the bytes per second that a large copy reads and writes."""
    source = torch.empty(2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = interleaved({'copy': lambda: target.copy_(source)}, 20, device)
    return 2 * source.numel() / (times['copy'] / 1e3)


def product_rate(dtype: torch.dtype) -> float:
    """Multiply-adds per second of a large matrix product on the CPU."""
    size = 2048
    first, second = torch.randn(2, size, size).to(dtype)
    product = {'product': lambda: first @ second}
    times = interleaved(product, 10, torch.device('cpu'))
    return size**3 / (times['product'] / 1e3)


def peak_memory(function: Callable[[], object], device: torch.device) -> int:
    """Measure the bytes that ``function`` adds to the tensors' memory at its peak."""
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        function()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'trace.json')
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text())['traceEvents']
    changes = [e for e in events if e.get('name') == '[memory]']
    current = peak = 0
    for event in sorted(changes, key=lambda event: event['ts']):
        current += event['args']['Bytes']
        peak = max(peak, current)
    return peak
