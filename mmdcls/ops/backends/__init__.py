"""The backends of ``depthwise_conv2d``, one module each.

A backend is one way to compute a depthwise convolution. The numbers of a dense kernel
are called its taps.

Every backend has the same four functions; sizes and paddings are pairs (rows,
columns), tensors are (N, C, H, W) in any memory format, weights (C, 1, h, w):

- ``forward(x, weight, bias, padding)``
- ``grad_input(grad_output, weight, input_size, padding)``
- ``grad_weight(x, grad_output, kernel_size, padding)``
- ``can_run(operation, x, kernel_size, padding, raise_error=False)``: whether
  ``operation``, one of the three names above, can run on tensors such as ``x``; with
  ``raise_error`` the reason is raised instead of returning False.
"""

from . import aten, aten_relaid, fft, implicit_gemm, row_dft, toeplitz, triton

BACKENDS = {
    'aten': aten,
    'aten_relaid': aten_relaid,
    'fft': fft,
    'row_dft': row_dft,
    'triton': triton,
    'toeplitz': toeplitz,
    'implicit_gemm': implicit_gemm,
}
OPERATIONS = ('forward', 'grad_input', 'grad_weight')
