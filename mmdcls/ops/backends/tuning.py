"""The fastest backend on the GPU at hand: timed at first use, kept in a file.

What wins depends on the card, on cuDNN and on Triton, so that no table knows it. At
the first use of an operation on maps and kernels of about some size the candidates are
timed for a few milliseconds each. Later processes read the results from
``$XDG_CACHE_HOME/mmdcls`` (``~/.cache/mmdcls``), one file for each card and each set of
versions.

Nothing is timed while a CUDA graph is captured, where what is known already serves.
While a model is compiled or traced, with deterministic algorithms on, and with
``MMDCLS_AUTOTUNE=0`` in the environment, results are not used either. One eager step of
training and one of inference at the sizes of use is all the warming up there is.
"""

import functools
import hashlib
import json
import logging
import math
import os
import re
import statistics
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Parameter

from mmdcls.compat import OutOfMemoryError, allows_tf32, is_compiling, without_autocast
from mmdcls.files import cache_folder, write_json

from . import BACKENDS
from .layout import format_of, is_channels_last

_DEVICE_TYPE = 'cuda'
CANDIDATES = ('aten', 'aten_relaid', 'triton', 'toeplitz')

# By how much a backend must beat 'aten' to be chosen.
MARGIN = 0.95

# Sizes of the square kernels and maps that stand for those of about their area.
_KERNEL_SIZES = (3, 7, 13, 17, 23, 31, 51)
_MAP_SIZES = (7, 14, 28, 56, 112, 224)

# Largest difference from 'aten', relative to the largest value: rounding stays below.
_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
_HALF_TOLERANCE = 2e-2

_logger = logging.getLogger(__name__)

Measure = Callable[[str, Tensor, tuple[int, int], tuple[int, int]], dict[str, float]]


def choose(
    operation: str, x: Tensor, kernel_size: tuple[int, int], padding: tuple[int, int]
) -> str | None:
    """Return the fastest backend on the GPU of ``x``, measured if it is not known.

    Returns:
        Its name, or None off a GPU and wherever the module's docstring says so.
    """
    if x.device.type != _DEVICE_TYPE or is_compiling():
        return None
    if (
        type(x) not in (Tensor, Parameter)
        or x.numel() == 0
        or torch.jit.is_tracing()
        or torch.are_deterministic_algorithms_enabled()
        or os.environ.get('MMDCLS_AUTOTUNE') == '0'
    ):
        return None
    with torch.cuda.device_of(x):
        known_only = torch.cuda.is_current_stream_capturing()
        tuner = _tuner(cache_file(x.device))
    return tuner.choose(operation, x, kernel_size, padding, known_only)


class Tuner:
    """What was measured on one kind of GPU.

    Threads may share one. Processes may share its file: each merges its results into
    what the file holds, and a result that is lost is measured again.

    Args:
        path: The file, read now if it is there.
        measure: Times all candidates, ``(operation, x, kernel_size, padding)`` to
            milliseconds by name.
    """

    def __init__(self, path: Path, measure: Measure):
        self.path = path
        self.measure = measure
        self.results = _read(path)
        self._lock = threading.Lock()

    def choose(
        self,
        operation: str,
        x: Tensor,
        kernel_size: tuple[int, int],
        padding: tuple[int, int],
        known_only: bool = False,
    ) -> str | None:
        """Return the fastest backend, measured now if it is not known, or None."""
        key = bucket(operation, x, kernel_size)
        with self._lock:
            if key not in self.results and not known_only:
                self._add(key, operation, x, kernel_size, padding)
            return self.results.get(key)

    def _add(self, key, *arguments):
        try:
            times = self.measure(*arguments)
        except OutOfMemoryError:
            # Another process, or this one later, may have more room: not for the file.
            self.results[key] = 'aten'
            _logger.warning(
                "No memory to time the backends of %s: it runs on PyTorch's own.", key
            )
            return
        self.results[key] = fastest(times)
        self.results = _read(self.path, quiet=True) | self.results
        try:
            write_json(self.path, self.results)
        except OSError as error:
            _warn_once(f'Timings of backends are not kept for later runs: {error}.')


def fastest(times: dict[str, float]) -> str:
    """Return the name to choose: ``'aten'`` unless another one is clearly faster."""
    best = min(times, key=lambda name: times[name])
    return best if times[best] < MARGIN * times['aten'] else 'aten'


def bucket(operation: str, x: Tensor, kernel_size: tuple[int, int]) -> str:
    """Return the key of one result: of an operation on tensors of about one size."""
    dtype = str(x.dtype).removeprefix('torch.')
    if x.dtype == torch.float32 and allows_tf32():
        dtype = 'tf32'
    return ' '.join(
        [
            operation,
            dtype,
            'channels_last' if is_channels_last(x) else 'nchw',
            f'kernel {nearest(kernel_size, _KERNEL_SIZES)}',
            f'map {nearest(x.shape[2:], _MAP_SIZES)}',
            f'maps {4 ** round(math.log(x.shape[0] * x.shape[1], 4))}',
        ]
    )


def nearest(size: Sequence[int], candidates: Sequence[int]) -> int:
    """Return the candidate whose square is nearest in ratio to the area ``size``."""
    area = size[0] * size[1]
    for smaller, larger in zip(candidates, candidates[1:], strict=False):
        if area <= smaller * larger:
            return smaller
    return candidates[-1]


def time_on_gpu(function: Callable[[], object], repetitions: int = 5) -> float:
    """Measure the median milliseconds of a call on this stream, after one before."""
    function()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repetitions + 1)]
    events[0].record()
    for event in events[1:]:
        function()
        event.record()
    events[-1].synchronize()
    return statistics.median(
        start.elapsed_time(end) for start, end in zip(events, events[1:], strict=False)
    )


def measure(
    operation: str,
    x: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    timer: Callable[[Callable[[], object]], float] = time_on_gpu,
) -> dict[str, float]:
    """Measure milliseconds of each candidate on random tensors shaped as ``x``.

    A candidate that raises, or whose result is not that of PyTorch's own convolution,
    is left out, and a line is logged.

    Raises:
        OutOfMemoryError: If there is no room for that.
    """
    arguments = make_arguments(operation, x, kernel_size, padding)
    times, expected = {}, None
    with torch.no_grad(), without_autocast(x.device.type):
        for name in CANDIDATES:
            backend = BACKENDS[name]
            if not backend.can_run(operation, x, kernel_size, padding):
                continue
            run = functools.partial(getattr(backend, operation), *arguments)
            try:
                result = run()
                if expected is None:
                    expected = result
                _check(result, expected)
                times[name] = timer(run)
            except OutOfMemoryError:
                raise
            except Exception as error:
                if name == 'aten':
                    raise
                reason = str(error).split('\n')[0]
                _warn_once(f'Backend {name!r} is not used for {operation}: {reason}')
    return times


def make_arguments(
    operation: str, x: Tensor, kernel_size: tuple[int, int], padding: tuple[int, int]
) -> tuple:
    """Make random arguments of a backend's ``operation`` on tensors such as ``x``."""
    # A generator of its own: the numbers of a training stay what they are.
    generator = torch.Generator(x.device).manual_seed(0)

    def random(*shape):
        tensor = torch.empty(
            shape, dtype=x.dtype, device=x.device, memory_format=format_of(x)
        )
        return tensor.normal_(generator=generator)

    maps = random(*x.shape)
    if operation == 'grad_weight':
        size = (
            s + 2 * p - k + 1
            for s, p, k in zip(x.shape[2:], padding, kernel_size, strict=True)
        )
        return maps, random(*x.shape[:2], *size), kernel_size, padding
    weight = random(x.shape[1], 1, *kernel_size).contiguous()
    if operation == 'forward':
        return maps, weight, None, padding
    map_size = tuple(
        s - 2 * p + k - 1
        for s, p, k in zip(x.shape[2:], padding, kernel_size, strict=True)
    )
    return maps, weight, map_size, padding


@functools.lru_cache
def cache_file(device: torch.device) -> Path:
    """Return the file of results for one GPU and this process's software."""
    try:
        from triton import __version__ as triton
    except ImportError:
        triton = 'none'
    parts = [
        torch.cuda.get_device_name(device),
        f'torch{torch.__version__}',
        f'cudnn{torch.backends.cudnn.version()}',
        f'triton{triton}',
        _code_digest(),
    ]
    name = re.sub(r'[^\w.+-]+', '-', '_'.join(parts))
    return cache_folder() / f'{name}.json'


def _code_digest():
    """Digest the code of the backends."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob('*.py')):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


@functools.lru_cache
def _tuner(path):
    return Tuner(path, measure)


def _read(path, quiet=False):
    """Read the results in a file; where it holds something else, warn and give none."""
    try:
        results = json.loads(path.read_text())
        if not isinstance(results, dict):
            raise ValueError(f'it holds a {type(results).__name__}')
        unknown = set(map(str, results.values())) - set(CANDIDATES)
        if unknown:
            raise ValueError(f'it names {", ".join(sorted(unknown))}')
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        if not quiet:
            _logger.warning('Timings of backends in %s are ignored: %s.', path, error)
        return {}
    return results


def _check(result, expected):
    """Raise unless two results differ by rounding only."""
    tolerance = _TOLERANCES.get(result.dtype, _HALF_TOLERANCE)
    if result.dtype == torch.float32 and allows_tf32():
        tolerance = _HALF_TOLERANCE
    error = (result.double() - expected.double()).abs().max()
    if not error <= tolerance * expected.double().abs().max():
        raise ArithmeticError(f'its result is off by {error.item():.1e}')


@functools.lru_cache
def _warn_once(message):
    _logger.warning(message)
