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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from mmdcls.compat import OutOfMemoryError, allows_tf32, is_compiling, without_autocast
from mmdcls.files import cache_folder, write_json

from . import BACKENDS
from .layout import format_of, is_channels_last

_DEVICE_TYPE = 'cuda'
CANDIDATES = ('aten', 'aten_relaid', 'triton', 'toeplitz')
FORMATS = ('channels_last', 'nchw')
"""What the maps of a block may be laid out in, the usual one first."""

# By how much another one must beat the usual one to be chosen.
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
    if not may_measure(x):
        return None
    tuner, known_only = _tuner_for(x)
    return tuner.choose(operation, x, kernel_size, padding, known_only)


def may_measure(x: Tensor) -> bool:
    """Tell whether choices for tensors such as ``x`` may rest on measurements."""
    if x.device.type != _DEVICE_TYPE or is_compiling():
        return False
    return not (
        type(x) not in (Tensor, Parameter)
        or x.numel() == 0
        or torch.jit.is_tracing()
        or torch.are_deterministic_algorithms_enabled()
        or os.environ.get('MMDCLS_AUTOTUNE') == '0'
    )


def look_up(
    key: str,
    x: Tensor,
    timed: Callable[[], dict[str, float]],
    usual: str = CANDIDATES[0],
) -> str | None:
    """Return what is fastest on the GPU of ``x``, measured now if it is not known.

    Args:
        key: The name of the result.
        x: A tensor on the GPU.
        timed: Measures milliseconds by name, the usual one's first.
        usual: What runs where there is no memory to measure.

    Returns:
        A name, or None while a CUDA graph is captured and nothing is known.
    """
    tuner, known_only = _tuner_for(x)
    return tuner.look_up(key, timed, known_only, usual)


def _tuner_for(x):
    """Return what is known of the GPU of ``x``, and whether that must do."""
    with torch.cuda.device_of(x):
        known_only = torch.cuda.is_current_stream_capturing()
        return _tuner(cache_file(x.device)), known_only


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
        # To measure a block is to choose the backend of its convolution.
        self._lock = threading.RLock()

    def choose(
        self,
        operation: str,
        x: Tensor,
        kernel_size: tuple[int, int],
        padding: tuple[int, int],
        known_only: bool = False,
    ) -> str | None:
        """Return the fastest backend, measured now if it is not known, or None."""
        timed = functools.partial(self.measure, operation, x, kernel_size, padding)
        return self.look_up(bucket(operation, x, kernel_size), timed, known_only)

    def look_up(
        self,
        key: str,
        timed: Callable[[], dict[str, float]],
        known_only: bool = False,
        usual: str = CANDIDATES[0],
    ) -> str | None:
        """Return the fastest one, measured now if it is not known, or None.

        Arguments as of the function :func:`look_up`, and ``known_only``: measure
        nothing.
        """
        with self._lock:
            if key not in self.results and not known_only:
                self._add(key, timed, usual)
            return self.results.get(key)

    def _add(self, key, timed, usual):
        try:
            times = timed()
        except OutOfMemoryError:
            # Another process, or this one later, may have more room: not for the file.
            self.results[key] = usual
            _logger.warning('No memory to time what %s needs: %s runs.', key, usual)
            return
        self.results[key] = fastest(times)
        self.results = _read(self.path, quiet=True) | self.results
        try:
            write_json(self.path, self.results)
        except OSError as error:
            _warn_once(f'Timings of backends are not kept for later runs: {error}.')


def fastest(times: dict[str, float]) -> str:
    """Return the name to choose: the first one unless another is clearly faster."""
    usual = next(iter(times))
    best = min(times, key=lambda name: times[name])
    return best if times[best] < MARGIN * times[usual] else usual


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
    steps = {
        name: functools.partial(getattr(BACKENDS[name], operation), *arguments)
        for name in CANDIDATES
        if BACKENDS[name].can_run(operation, x, kernel_size, padding)
    }
    with torch.no_grad(), without_autocast(x.device.type):
        return time_steps(steps, operation, timer)


def time_steps(
    steps: Mapping[str, Callable[[], Tensor | Sequence[Tensor]]],
    what: str,
    timer: Callable[[Callable[[], object]], float],
) -> dict[str, float]:
    """Measure milliseconds of functions that compute the same, by their names.

    One that raises, or whose result is not that of the first one, is left out, and a
    line is logged.

    Args:
        steps: The functions, the usual one first.
        what: The name of what they compute, for the log.
        timer: Measures the milliseconds of a call.

    Raises:
        OutOfMemoryError: If there is no room for that.
    """
    times: dict[str, float] = {}
    expected: Any = None
    for name, run in steps.items():
        try:
            result = run()
            if expected is None:
                expected = result
            _check(result, expected)
            times[name] = timer(run)
        except OutOfMemoryError:
            raise
        except Exception as error:
            if not times:
                raise
            reason = str(error).split('\n')[0]
            _warn_once(f'{name!r} is not used for {what}: {reason}')
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
    """Digest the code of the operators and their backends."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted([*folder.parent.glob('*.py'), *folder.glob('*.py')]):
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
        unknown = set(map(str, results.values())) - {*CANDIDATES, *FORMATS}
        if unknown:
            raise ValueError(f'it names {", ".join(sorted(unknown))}')
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        if not quiet:
            _logger.warning('Timings of backends in %s are ignored: %s.', path, error)
        return {}
    return results


def _check(results, expected):
    """Raise unless two results differ by rounding only."""
    if isinstance(results, Tensor):
        results, expected = [results], [expected]
    for result, wanted in zip(results, expected, strict=True):
        # A sum in float32 of values that were rounded is as exact as they are.
        dtype = min(result.dtype, expected[0].dtype, key=lambda dtype: dtype.itemsize)
        tolerance = _TOLERANCES.get(dtype, _HALF_TOLERANCE)
        if dtype == torch.float32 and allows_tf32():
            tolerance = _HALF_TOLERANCE
        error = (result.double() - wanted.double()).abs().max()
        if not error <= tolerance * wanted.double().abs().max():
            raise ArithmeticError(f'its result is off by {error.item():.1e}')


@functools.lru_cache
def _warn_once(message):
    _logger.warning(message)
