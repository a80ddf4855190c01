"""The one table of tolerances: what each quantity may differ by, per dtype.

Values are (relative, absolute), for ``torch.testing.assert_close``. They follow from
the number of bits and of terms summed, and hold on CPU and GPU alike.
"""

import torch

TOLERANCES = {
    'kernel': {
        torch.float64: (1e-10, 1e-10),
        torch.float32: (1e-5, 1e-5),
        torch.bfloat16: (2e-2, 2e-2),
        torch.float16: (2e-3, 2e-3),
    },
    'output': {
        torch.float64: (1e-10, 1e-10),
        torch.float32: (1e-4, 1e-4),
        torch.bfloat16: (2e-2, 5e-2),
        torch.float16: (5e-3, 1e-2),
    },
    'gradient': {
        torch.float64: (1e-10, 1e-10),
        torch.float32: (1e-3, 1e-3),
        torch.bfloat16: (3e-2, 1e-1),
        torch.float16: (1e-2, 3e-2),
    },
}


def assert_close(actual, expected, quantity, dtype=None, **kwargs):
    """``torch.testing.assert_close`` with the tolerance of ``quantity``."""
    rtol, atol = TOLERANCES[quantity][dtype or actual.dtype]
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, **kwargs)
