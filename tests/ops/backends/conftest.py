"""What Triton's kernels are compiled by, which pytest reads for its examples, too."""

from mmdcls.ops.backends.gpu import has_triton

collect_ignore = [] if has_triton() else ['compiled_kernels.py']
