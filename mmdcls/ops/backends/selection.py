"""Which backend runs an operation."""

import torch
from torch import Tensor

from . import BACKENDS, tuning
from .choices import CHOICES, MAP_SIZES


def choose_backend(
    operation: str,
    x: Tensor,
    kernel_size: tuple[int, int],
    padding: tuple[int, int],
    backend: str = 'auto',
):
    """Return the backend module that runs ``operation`` on tensors such as ``x``.

    Args:
        operation: ``'forward'``, ``'grad_input'`` or ``'grad_weight'``.
        x: Input or output gradient, (N, C, H, W).
        kernel_size: Rows and columns of the kernel.
        padding: Zeros on either side, (rows, columns).
        backend: A name to insist on, or ``'auto'``: on a GPU what ``tuning.choose`` has
            found to be fastest there, elsewhere and where nothing may be measured the
            entry of ``choices.py``. Where that one cannot run, and where there is no
            entry, ``'aten'`` does.

    Raises:
        ArgumentError: If the named backend cannot run; the message says why.
        MissingPackageError: If the named backend needs a package that is not installed.
    """
    if backend != 'auto':
        BACKENDS[backend].can_run(operation, x, kernel_size, padding, raise_error=True)
        return BACKENDS[backend]
    name = tuning.choose(operation, x, kernel_size, padding)
    name = name or _listed(operation, x, kernel_size)
    if BACKENDS[name].can_run(operation, x, kernel_size, padding):
        return BACKENDS[name]
    return BACKENDS['aten']


def _listed(operation, x, kernel_size):
    """Return the name that ``choices.py`` lists."""
    device, dtype = x.device.type, x.dtype
    if device == 'cpu' and dtype in (torch.float16, torch.bfloat16):
        dtype = torch.float32  # In which all backends compute these there.
    table = CHOICES.get((device, str(dtype).removeprefix('torch.')))
    if table is None:
        return 'aten'
    rows = table[operation]
    row = rows[tuning.nearest(kernel_size, tuple(rows))]
    return row[MAP_SIZES.index(tuning.nearest(x.shape[2:], MAP_SIZES))]
