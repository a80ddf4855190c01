"""The Triton backends compute what PyTorch does."""

import pytest
import torch
import torch.nn.functional as F
from helpers.tolerances import assert_close
from helpers.versions import needs_triton
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcls.ops.backends import BACKENDS, toeplitz, triton
from mmdcls.ops.backends.layout import format_of
from mmdcls.ops.depthwise import depthwise_conv2d

pytestmark = [needs_triton, pytest.mark.triton]

# A CUDA device, or the CPU through Triton's interpreter.
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
FORMATS = {'nchw': torch.contiguous_format, 'channels_last': torch.channels_last}
DTYPES = {
    name: [str(dtype).removeprefix('torch.') for dtype in BACKENDS[name].DTYPES]
    for name in ('triton', 'toeplitz')
}


def check_parity(backend, shape, kernel_size, padding, dtype, memory_format):
    """Output and all gradients against float64 ``F.conv2d`` on the same values."""
    dtype, memory_format = getattr(torch, dtype), FORMATS[memory_format]
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64).to(DEVICE, dtype)
    x = x.contiguous(memory_format=memory_format)
    weight = torch.randn(shape[1], 1, *kernel_size).to(DEVICE, dtype)
    bias = torch.randn(shape[1]).to(DEVICE, dtype)
    tensors = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    output = depthwise_conv2d(*tensors, padding=padding, backend=backend)
    assert output.dtype == dtype
    # Maps of one pixel or one channel are in both formats, and count as NCHW.
    assert output.is_contiguous(memory_format=format_of(x))
    expected = F.conv2d(*exact, padding=padding, groups=shape[1])
    # Tensor cores of a device round float32 to TF32, the interpreter does not.
    tolerance = dtype
    if DEVICE == 'cuda' and (backend, dtype) == ('toeplitz', torch.float32):
        tolerance = torch.float16
    assert_close(output.double(), expected, 'output', tolerance)
    grad_output = torch.randn_like(expected).to(dtype)
    for gradient, value in zip(
        torch.autograd.grad(output, tensors, grad_output),
        torch.autograd.grad(expected, exact, grad_output.double()),
        strict=True,
    ):
        assert_close(gradient.double(), value, 'gradient', tolerance)


# The interpreter takes milliseconds for each step of a loop: the cases are tiny.
CASES = {
    'larger-than-map': ((2, 3, 3, 4), (5, 7), (2, 3)),
    'even-no-padding': ((1, 2, 5, 6), (2, 4), (0, 0)),
    'padding-beyond-kernel': ((1, 2, 3, 2), (1, 2), (2, 1)),
    'several-tiles': ((1, 2, 6, 19), (3, 2), (1, 0)),
    'one-channel': ((3, 1, 2, 3), (3, 1), (1, 0)),
    'one-pixel': ((2, 3, 1, 1), (1, 1), (0, 0)),
}


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize(
    ('backend', 'dtype'), [(name, dtype) for name in DTYPES for dtype in DTYPES[name]]
)
def test_parity(backend, dtype, memory_format):
    check_parity(backend, *CASES['several-tiles'], dtype, memory_format)


@pytest.mark.parametrize('backend', DTYPES)
@pytest.mark.parametrize('case', CASES)
def test_parity_of_odd_shapes(case, backend):
    check_parity(backend, *CASES[case], 'float32', 'channels_last')


# Windows of 16, 32 and 48 columns, several blocks of rows and of images, and rows
# whose values lie at any alignment.
TOEPLITZ_CASES = {
    '17x17': ((1, 1, 5, 24), (17, 17), (8, 8)),
    '31x31': ((1, 1, 4, 18), (7, 31), (3, 15)),
    'narrow-map': ((2, 2, 7, 7), (13, 13), (6, 6)),
    'row-blocks-first': ((2, 1, 41, 3), (3, 3), (1, 1)),
    'many-images': ((19, 1, 9, 4), (3, 3), (1, 1)),
    'uneven-padding': ((1, 2, 12, 20), (9, 17), (8, 2)),
}


@pytest.mark.parametrize('dtype', DTYPES['toeplitz'])
@pytest.mark.parametrize('case', TOEPLITZ_CASES)
def test_toeplitz_parity(case, dtype):
    check_parity('toeplitz', *TOEPLITZ_CASES[case], dtype, 'nchw')


@st.composite
def cases(draw, backend, largest_map, largest_kernel):
    """Any shapes that a convolution accepts, up to a size."""
    shape = [draw(st.integers(1, 3)), draw(st.integers(1, 2))]
    kernel_size, padding = [], []
    for _ in range(2):
        shape.append(draw(st.integers(1, largest_map)))
        kernel_size.append(draw(st.integers(1, largest_kernel)))
        smallest = max(0, -(-(kernel_size[-1] - shape[-1]) // 2))
        padding.append(draw(st.integers(smallest, smallest + 3)))
    dtype = draw(st.sampled_from(DTYPES[backend]))
    return shape, kernel_size, tuple(padding), dtype, draw(st.sampled_from([*FORMATS]))


@settings(deadline=None, max_examples=10)
@given(case=cases('triton', 4, 3))
def test_triton_parity_at_any_size(case):
    check_parity('triton', *case)


@settings(deadline=None, max_examples=20)
@given(case=cases('toeplitz', 20, 18))
def test_toeplitz_parity_at_any_size(case):
    check_parity('toeplitz', *case)


@pytest.mark.parametrize('programs', [1, 3, 40])
@pytest.mark.parametrize('backend', [triton, toeplitz], ids=['triton', 'toeplitz'])
def test_gradients_are_summed_over_parts_of_images_and_rows(
    programs, backend, monkeypatch
):
    from mmdcls.ops.backends import toeplitz_kernels

    monkeypatch.setattr(triton, '_PROGRAMS', programs)
    monkeypatch.setattr(toeplitz_kernels, '_PROGRAMS', programs)
    monkeypatch.setattr(toeplitz_kernels, 'SUM_BLOCKS', (128, 2, 64, 8, 3))
    x = torch.randn(5, 1, 13, 3, device=DEVICE)
    grad_output = torch.randn_like(x)
    actual = backend.grad_weight(x, grad_output, (1, 1), (0, 0))
    expected = (x.double() * grad_output).sum().view(1, 1, 1, 1)
    assert_close(actual.double(), expected, 'gradient', torch.float16)


@pytest.mark.parametrize(
    ('batch', 'parts', 'expected'),
    [(64, 16, (4, 50)), (64, 64, (1, 50)), (2, 10, (1, 10)), (1, 999, (1, 1))],
)
def test_a_batch_is_split_over_images_then_rows(batch, parts, expected):
    assert triton.split(batch, 50, parts) == expected


@pytest.mark.parametrize('backend', DTYPES)
def test_half_precision_is_summed_in_float32(backend):
    # In fp16, 2048 + 1 is 2048 again: a sum kept in fp16 would stay there.
    x = torch.tensor([2048.0, 1, 1, 1, 1], device=DEVICE).half()
    x = x.view(1, 1, 1, 5)
    actual = BACKENDS[backend].grad_weight(x, torch.ones_like(x), (1, 1), (0, 0))
    assert actual.item() == 2052


@pytest.mark.parametrize('backend', DTYPES)
def test_expanded_and_strided_tensors(backend):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 8, 4, device=DEVICE)[:, :, ::2].transpose(2, 3)
    weight = torch.randn(2, 1, 3, 3, device=DEVICE)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    output = depthwise_conv2d(x, weight, padding=1, backend=backend)
    expected = F.conv2d(x, weight, padding=1, groups=2)
    dtype = torch.float16 if DEVICE == 'cuda' else torch.float32
    assert_close(output, expected, 'output', dtype)
    for tensor in (x, weight):
        assert_close(
            torch.autograd.grad(output.sum(), tensor, retain_graph=True)[0],
            torch.autograd.grad(expected.sum(), tensor, retain_graph=True)[0],
            'gradient',
            dtype,
        )


@pytest.mark.parametrize('backend', DTYPES)
def test_a_batch_without_images(backend):
    x = torch.zeros(0, 2, 5, 5, device=DEVICE)
    weight = torch.zeros(2, 1, 3, 3, device=DEVICE, requires_grad=True)
    output = depthwise_conv2d(x, weight, padding=1, backend=backend)
    output.sum().backward()
    assert output.shape == x.shape and weight.grad.eq(0).all()


@pytest.mark.parametrize('backend', [triton, toeplitz], ids=['triton', 'toeplitz'])
@pytest.mark.parametrize('memory_format', FORMATS)
def test_operators_trace_as_their_fakes_say(backend, memory_format):
    x = torch.randn(2, 3, 3, 4, device=DEVICE)
    x = x.contiguous(memory_format=FORMATS[memory_format])
    weight = torch.randn(3, 1, 3, 3, device=DEVICE)
    checks = ('test_schema', 'test_faketensor')
    arguments = (x, weight, None, [1, 1], False)
    torch.library.opcheck(backend.correlate, arguments, test_utils=checks)
    torch.library.opcheck(backend.correlate_sum, (x, x, [1, 1]), test_utils=checks)


def test_toeplitz_says_why_it_refuses():
    x = torch.zeros(1, 2, 4, 400, device=DEVICE)
    with pytest.raises(ValueError, match='kernels of up to 96 columns, got 97'):
        depthwise_conv2d(x, x.new_zeros(2, 1, 1, 97), padding=0, backend='toeplitz')
    x = x.double()
    with pytest.raises(ValueError, match="'toeplitz' accepts .* got torch.float64"):
        depthwise_conv2d(x, x.new_zeros(2, 1, 1, 3), padding=0, backend='toeplitz')
