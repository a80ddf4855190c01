"""depthwise_conv2d against float64 F.conv2d: every backend, shape, dtype and format."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers.tolerances import assert_close
from helpers.versions import needs_compile, needs_triton
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmdcls.ops.backends import BACKENDS
from mmdcls.ops.depthwise import depthwise_conv2d

PORTABLE = ('auto', 'aten', 'fft', 'row_dft')

# name: shape of x, kernel size, padding
CASES = {
    'odd': ((2, 3, 9, 7), (5, 5), 2),
    'odd-63x60': ((1, 4, 63, 60), (17, 17), 8),
    'kernel-larger-than-map': ((2, 16, 7, 7), (17, 17), 8),
    'kernel-larger-than-padded-half': ((2, 3, 4, 5), (13, 11), (9, 8)),
    'rectangular': ((2, 3, 8, 9), (7, 3), (3, 1)),
    'even': ((2, 3, 8, 9), (4, 6), (2, 1)),
    'no-padding': ((2, 3, 8, 9), (3, 5), 0),
    'padding-per-axis': ((2, 3, 8, 9), (5, 5), (0, 4)),
    'one-channel': ((3, 1, 6, 5), (3, 3), 1),
    'one-pixel': ((2, 3, 1, 1), (3, 3), 1),
    'one-tap': ((2, 3, 4, 5), (1, 1), 0),
}


def make(shape, kernel_size, dtype, memory_format=torch.contiguous_format, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (shape, (shape[1], 1, *kernel_size), (shape[1],))
    x, weight, bias = (
        torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)
        for s in sizes
    )
    x = x.contiguous(memory_format=memory_format)
    return tuple(tensor.requires_grad_() for tensor in (x, weight, bias))


def check_parity(backend, case, dtype, memory_format, device='cpu'):
    """Output and all gradients against float64 ``F.conv2d`` on the same values."""
    shape, kernel_size, padding = case
    tensors = [
        t.detach().to(device).requires_grad_()
        for t in make(shape, kernel_size, dtype, memory_format)
    ]
    exact = [t.detach().double().requires_grad_() for t in tensors]
    output = depthwise_conv2d(*tensors, padding=padding, backend=backend)
    expected = F.conv2d(*exact, padding=padding, groups=shape[1])
    grad_output = torch.randn_like(expected).to(dtype)
    gradients = torch.autograd.grad(output, tensors, grad_output)
    expected_gradients = torch.autograd.grad(expected, exact, grad_output.double())
    assert output.dtype == dtype
    assert_close(output.double(), expected, 'output', dtype)
    for gradient, tensor, value in zip(
        gradients, tensors, expected_gradients, strict=True
    ):
        assert gradient.dtype == dtype and gradient.shape == tensor.shape
        assert_close(gradient.double(), value, 'gradient', dtype)


@pytest.mark.parametrize('memory_format', ['nchw', 'channels_last'])
@pytest.mark.parametrize('dtype', ['float64', 'float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('backend', PORTABLE)
def test_parity(backend, case, dtype, memory_format):
    memory_format = {
        'nchw': torch.contiguous_format,
        'channels_last': torch.channels_last,
    }[memory_format]
    check_parity(backend, CASES[case], getattr(torch, dtype), memory_format)


@pytest.mark.parametrize('backend', ['auto', 'aten'])
def test_parity_with_padding_beyond_the_kernel(backend):
    case = ((2, 3, 5, 4), (2, 3), (4, 5))
    check_parity(backend, case, torch.float64, torch.contiguous_format)


@pytest.mark.parametrize('backend', ['auto', 'aten'])
def test_a_batch_without_images(backend):
    case = ((0, 3, 4, 5), (3, 3), 1)
    check_parity(backend, case, torch.float32, torch.contiguous_format)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize('backend', PORTABLE)
def test_parity_at_any_size(backend, data):
    size = st.integers(1, 12)
    kernel_size, padding = [], []
    shape = [data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))]
    for _ in range(2):
        shape.append(data.draw(size))
        kernel_size.append(data.draw(st.integers(1, 15)))
        smallest = max(0, -(-(kernel_size[-1] - shape[-1]) // 2))
        padding.append(data.draw(st.integers(smallest, smallest + 3)))
    case = (tuple(shape), tuple(kernel_size), tuple(padding))
    crop = [
        max(0, k - p - size)
        for k, p, size in zip(kernel_size, padding, shape[2:], strict=True)
    ]
    spectral = backend in ('fft', 'row_dft')
    if spectral and any(
        p >= k - c for p, k, c in zip(padding, kernel_size, crop, strict=True)
    ):
        x, weight, _ = make(shape, kernel_size, torch.float64)
        with pytest.raises(ValueError, match='padding below the kernel size'):
            depthwise_conv2d(x, weight, padding=padding, backend=backend)
        return
    check_parity(backend, case, torch.float64, torch.contiguous_format)


@pytest.mark.parametrize('backend', PORTABLE)
def test_gradcheck(backend):
    x, weight, bias = make((2, 2, 4, 5), (3, 5), torch.float64)

    def function(*tensors):
        return depthwise_conv2d(*tensors, padding=(1, 2), backend=backend)

    assert torch.autograd.gradcheck(function, (x, weight, bias))


@pytest.mark.parametrize('needed', list(itertools.product([False, True], repeat=3)))
def test_gradients_of_some_inputs(needed):
    tensors = make((2, 3, 6, 5), (3, 3), torch.float64)
    for tensor, need in zip(tensors, needed, strict=True):
        tensor.requires_grad_(need)
    expected = F.conv2d(*tensors, padding=1, groups=3)
    output = depthwise_conv2d(*tensors, padding=1)
    assert output.requires_grad == any(needed)
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    if wanted:
        for gradient, value in zip(
            torch.autograd.grad(output.square().sum(), wanted),
            torch.autograd.grad(expected.square().sum(), wanted),
            strict=True,
        ):
            assert_close(gradient, value, 'gradient')


def test_bias_may_be_left_out():
    x, weight, _ = make((2, 3, 6, 5), (3, 3), torch.float64)
    expected = F.conv2d(x, weight, padding=1, groups=3)
    assert_close(depthwise_conv2d(x, weight, padding=1), expected, 'output')


def test_gradient_of_taps_beyond_the_map_is_zero():
    x, weight, _ = make((2, 3, 4, 4), (11, 11), torch.float64)
    depthwise_conv2d(x, weight, padding=5).square().sum().backward()
    assert weight.grad[:, :, 2:-2, 2:-2].ne(0).all()
    assert weight.grad.ne(0).sum() == 3 * 7 * 7


def test_expanded_gradient_and_strided_input():
    x, weight, _ = make((2, 3, 8, 9), (3, 3), torch.float64)
    view = x[:, :, ::2].transpose(2, 3)
    output = depthwise_conv2d(view, weight, padding=1)
    expected = F.conv2d(view, weight, padding=1, groups=3)
    assert_close(output, expected, 'output')
    for tensor in (x, weight):
        assert_close(
            torch.autograd.grad(output.sum(), tensor, retain_graph=True)[0],
            torch.autograd.grad(expected.sum(), tensor, retain_graph=True)[0],
            'gradient',
        )


@pytest.mark.parametrize(
    'memory_format', [torch.contiguous_format, torch.channels_last]
)
@pytest.mark.parametrize('kernel_size', [7, 31])
def test_cpu_results_are_channels_last(memory_format, kernel_size):
    x, weight, bias = make(
        (2, 16, 30, 30), (kernel_size,) * 2, torch.float32, memory_format
    )
    output = depthwise_conv2d(x, weight, bias, padding=kernel_size // 2)
    assert output.is_contiguous(memory_format=torch.channels_last)
    x.register_hook(
        lambda gradient: formats.append(
            gradient.is_contiguous(memory_format=torch.channels_last)
        )
    )
    formats = []
    output.square().sum().backward()
    assert formats == [True]


def test_double_backward_is_refused():
    x, weight, _ = make((1, 2, 4, 4), (3, 3), torch.float64)
    output = depthwise_conv2d(x, weight, padding=1)
    (gradient,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        gradient.sum().backward()


@pytest.mark.parametrize('backward_under_autocast', [False, True])
def test_autocast_is_that_of_conv2d(backward_under_autocast):
    x, weight, bias = make((2, 3, 8, 9), (5, 5), torch.float32)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = depthwise_conv2d(x, weight, bias, padding=2)
        expected = F.conv2d(x, weight, bias, padding=2, groups=3)
    assert output.dtype == expected.dtype == torch.bfloat16
    assert_close(output, expected, 'output')
    with torch.autocast('cpu', enabled=backward_under_autocast):
        gradients = torch.autograd.grad(output.float().sum(), (x, weight, bias))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)


def test_autocast_leaves_float64_alone():
    x, weight, _ = make((2, 3, 8, 9), (5, 5), torch.float64)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert depthwise_conv2d(x, weight, padding=2).dtype == torch.float64


def test_float32_gradients_stay_exact_in_a_backward_under_autocast():
    x, weight, bias = make((2, 3, 8, 9), (5, 5), torch.float32)
    output = depthwise_conv2d(x, weight, bias, padding=2)
    expected = F.conv2d(x.double(), weight.double(), padding=2, groups=3)
    (value,) = torch.autograd.grad(expected.square().sum(), weight)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (gradient,) = torch.autograd.grad(
            (output - bias[:, None, None]).square().sum(), weight
        )
    assert_close(gradient, value, 'gradient')


class Layer(nn.Module):
    def __init__(self, backend):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 1, 5, 5))
        self.bias = nn.Parameter(torch.randn(4))
        self.backend = backend

    def forward(self, x):
        return depthwise_conv2d(
            x, self.weight, self.bias, padding=2, backend=self.backend
        ).relu()


@needs_compile
@pytest.mark.parametrize('backend', PORTABLE)
def test_compiles_without_graph_breaks(backend):
    layer = Layer(backend)
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend='aot_eager')
    x = torch.randn(2, 4, 9, 8, requires_grad=True)
    expected, output = layer(x), compiled(x)
    assert_close(output, expected, 'output')
    expected.square().sum().backward()
    output.square().sum().backward()
    for parameter, value in zip(compiled.parameters(), layer.parameters(), strict=True):
        assert_close(parameter.grad, value.grad, 'gradient')


@needs_compile
def test_compiles_under_autocast():
    layer = Layer('auto')
    compiled = torch.compile(layer, fullgraph=True, backend='aot_eager')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = compiled(torch.randn(2, 4, 9, 8))
    assert output.dtype == torch.bfloat16


@pytest.mark.parametrize('compiled', [False, pytest.param(True, marks=needs_compile)])
def test_runs_on_meta_tensors(compiled):
    x = torch.empty(2, 3, 8, 9, device='meta')
    weight = torch.empty(3, 1, 5, 5, device='meta', requires_grad=True)
    run = depthwise_conv2d
    if compiled:
        run = torch.compile(run, backend='eager', fullgraph=True)
    output = run(x, weight, padding=2)
    output.sum().backward()
    assert output.shape == (2, 3, 8, 9) and weight.grad.shape == weight.shape


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (dict(x=torch.zeros(3, 8, 9)), ValueError, r'x must be \(N, C, H, W\)'),
        (
            dict(weight=torch.zeros(3, 5, 5)),
            ValueError,
            r'weight must be \(3, 1, h, w\)',
        ),
        (dict(weight=torch.zeros(3, 3, 5, 5)), ValueError, r'got shape \(3, 3, 5, 5\)'),
        (dict(weight=torch.zeros(4, 1, 5, 5)), ValueError, r'got shape \(4, 1, 5, 5\)'),
        (dict(weight=torch.zeros(3, 1, 0, 5)), ValueError, 'between 1 and 12 rows'),
        (dict(weight=torch.zeros(3, 1, 5, 14)), ValueError, '13 columns .* got 14'),
        (dict(x=torch.zeros(2, 3, 0, 9)), ValueError, 'an x of 0 rows'),
        (dict(bias=torch.zeros(4)), ValueError, r'bias must be \(3,\) .* \(4,\)'),
        (dict(x=torch.zeros(2, 3, 8, 9, dtype=torch.int64)), TypeError, 'torch.int64'),
        (
            dict(x=torch.zeros(2, 3, 8, 9, dtype=torch.complex64)),
            TypeError,
            'torch.complex64',
        ),
        (
            dict(weight=torch.zeros(3, 1, 5, 5, dtype=torch.float64)),
            TypeError,
            'weight must have the dtype of x, torch.float32, got torch.float64',
        ),
        (dict(bias=torch.zeros(3).half()), TypeError, 'bias must have the dtype of x'),
        (
            dict(weight=torch.zeros(3, 1, 5, 5, device='meta')),
            ValueError,
            'weight must be on the device of x, cpu, got meta',
        ),
        (dict(padding=-1), ValueError, 'padding must be .* got -1'),
        (dict(padding=(1, 2, 3)), ValueError, r'padding must be .* got \(1, 2, 3\)'),
        (dict(padding=1.5), ValueError, 'padding must be .* got 1.5'),
        (dict(padding='same'), ValueError, "padding must be .* got 'same'"),
        (
            dict(backend='cudnn'),
            ValueError,
            "one of 'auto', 'aten', 'aten_relaid', 'fft', 'row_dft', .* got 'cudnn'",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_bad_input_is_named(change, error, message):
    arguments = dict(
        x=torch.zeros(2, 3, 8, 9), weight=torch.zeros(3, 1, 5, 5), padding=2
    )
    with pytest.raises(error, match=message):
        depthwise_conv2d(**(arguments | change))


@pytest.mark.parametrize(
    ('backend', 'padding', 'error', 'message'),
    [
        (
            'fft',
            5,
            ValueError,
            r"'fft' .* got padding \(5, 5\) with kernel size \(3, 3\)",
        ),
        ('row_dft', 5, ValueError, "'row_dft' accepts padding below the kernel size"),
        ('aten_relaid', 1, ValueError, "'aten_relaid' accepts no tensors on cpu"),
        pytest.param(
            *('triton', 1, ValueError),
            "'triton' accepts tensors on cuda only, got .* cpu",
            marks=needs_triton,
        ),
        ('implicit_gemm', 1, ImportError, "'implicit_gemm' needs the extension"),
    ],
)
def test_a_named_backend_is_never_replaced(
    backend, padding, error, message, monkeypatch
):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    x, weight, _ = make((1, 2, 4, 4), (3, 3), torch.float32)
    if padding is None:
        x, padding = x[:0], 1
    assert not BACKENDS[backend].can_run('forward', x, (3, 3), (padding, padding))
    with pytest.raises(error, match=message):
        depthwise_conv2d(x, weight, padding=padding, backend=backend)
