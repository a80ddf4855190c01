"""What only some versions of PyTorch and Triton can do, as marks of tests."""

import pytest

from mmdcls.compat import torch_is
from mmdcls.ops.backends.gpu import has_triton, triton_is

needs_compile = pytest.mark.skipif(
    not torch_is(2, 6), reason='compiled as a whole by PyTorch 2.6 and later only'
)
needs_export_told_apart = pytest.mark.skipif(
    not torch_is(2, 7),
    reason='before 2.7 a compiled model is as an exported one: it builds its kernels',
)
needs_old_formats = pytest.mark.skipif(
    not torch_is(2, 6), reason='files of before PyTorch 1.6 are refused before 2.6'
)
needs_float16_on_cpu = pytest.mark.skipif(
    not torch_is(2, 4), reason='before 2.4 a CPU has autocast in bfloat16 only'
)
needs_triton = pytest.mark.skipif(
    not has_triton(), reason='the kernels need Triton 3.4 or later'
)
needs_the_pinned_triton = pytest.mark.skipif(
    not triton_is(3, 7), reason='compilers before Triton 3.7 make other code of it'
)
