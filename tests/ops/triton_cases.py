"""The Triton backend's tests: ``test_backends.py`` runs this file in a process."""

import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close

from mmdcls.ops.backends import BACKENDS
from mmdcls.ops.depthwise import depthwise_conv2d


@pytest.fixture
def triton_device():
    """A CUDA device, or the CPU through Triton's interpreter."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


# The interpreter takes milliseconds per tap and program: the cases are tiny.
TRITON_CASES = {
    'larger-than-map': ((2, 3, 3, 4), (5, 7), (2, 3)),
    'even-no-padding': ((1, 2, 5, 6), (2, 4), (0, 0)),
    'padding-beyond-kernel': ((1, 2, 3, 2), (1, 2), (2, 1)),
    'several-tiles': ((1, 2, 9, 5), (3, 2), (1, 0)),
}


@pytest.mark.parametrize('memory_format', ['nchw', 'channels_last'])
@pytest.mark.parametrize('dtype', ['float64', 'float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize('case', TRITON_CASES)
def test_triton_parity(case, dtype, memory_format, triton_device):
    shape, kernel_size, padding = TRITON_CASES[case]
    dtype = getattr(torch, dtype)
    channels_last = memory_format == 'channels_last'
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64).to(triton_device, dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(shape[1], 1, *kernel_size).to(triton_device, dtype)
    bias = torch.randn(shape[1]).to(triton_device, dtype)
    tensors = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    output = depthwise_conv2d(*tensors, padding=padding, backend='triton')
    assert output.dtype == dtype
    if channels_last:
        assert output.is_contiguous(memory_format=torch.channels_last)
    expected = F.conv2d(*exact, padding=padding, groups=shape[1])
    assert_close(output.double(), expected, 'output', dtype)
    grad_output = torch.randn_like(expected).to(dtype)
    for gradient, value in zip(
        torch.autograd.grad(output, tensors, grad_output),
        torch.autograd.grad(expected, exact, grad_output.double()),
        strict=True,
    ):
        assert_close(gradient.double(), value, 'gradient', dtype)


def test_triton_sums_the_images_of_several_programs(triton_device):
    x = torch.randn(19, 1, 2, 2, dtype=torch.float64, device=triton_device)
    grad_output = torch.randn_like(x)
    actual = BACKENDS['triton'].grad_weight(x, grad_output, (1, 1), (0, 0))
    assert_close(actual, (x * grad_output).sum().view(1, 1, 1, 1), 'gradient')


def test_triton_accumulates_half_precision_in_float32(triton_device):
    # In fp16, 2048 + 1 is 2048 again: a sum kept in fp16 would stay there.
    x = torch.tensor([2048.0, 1, 1, 1, 1], device=triton_device).half()
    x = x.view(1, 1, 1, 5)
    actual = BACKENDS['triton'].grad_weight(x, torch.ones_like(x), (1, 1), (0, 0))
    assert actual.item() == 2052


def test_triton_operators_trace_as_their_fakes_say(triton_device):
    x = torch.randn(2, 3, 3, 4, device=triton_device)
    x = x.contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(1, 3, 3, 3, device=triton_device)
    triton = BACKENDS['triton']
    checks = ('test_schema', 'test_faketensor')
    torch.library.opcheck(
        triton.correlate, (x, kernel, None, [1, 1]), test_utils=checks
    )
    torch.library.opcheck(triton.correlate_sum, (x, x, [1, 1]), test_utils=checks)
