"""Normalisation and residual between NCHW maps and pointwise layers."""

import pytest
import torch
import torch.nn.functional as F
from helpers.tolerances import assert_close
from helpers.versions import needs_triton
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcls.ops import nchw_block
from mmdcls.ops.backends import toeplitz, tuning
from mmdcls.ops.nchw_block import norm_to_channels_last, residual_to_nchw
from mmdcls.ops.pointwise import scaled_residual

pytestmark = [needs_triton, pytest.mark.triton]

# A CUDA device, or the CPU through Triton's interpreter.
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
EPS = 1e-6
DTYPES = ('float32', 'float16', 'bfloat16')


def random(*shape, dtype='float32', seed=0):
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(shape, generator=generator)
    return value.to(DEVICE, getattr(torch, dtype)).requires_grad_()


def check(actual, expected, tensors, exact, dtype):
    """Outputs and the gradients of all tensors that there are."""
    assert_close(actual.double(), expected, 'output', dtype)
    grad = torch.randn_like(expected).to(actual.dtype)
    for gradient, value, tensor in zip(
        torch.autograd.grad(actual, tensors, grad),
        torch.autograd.grad(expected, exact, grad.double()),
        tensors,
        strict=True,
    ):
        assert gradient.dtype == tensor.dtype and gradient.shape == tensor.shape
        assert_close(gradient.double(), value, 'gradient', dtype)


def check_norm(shape, dtype, parameter_dtype, has_shift):
    x = random(*shape, dtype=dtype)
    with torch.no_grad():
        x += 3  # Means far from 0 are what the variance is hard with.
    parameters = [
        random(shape[1], dtype=parameter_dtype, seed=seed) for seed in (1, 2, 3)
    ]
    tensors = [x, *parameters] if has_shift else [x, *parameters[1:]]
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    shift = parameters[0] if has_shift else None
    actual = norm_to_channels_last(x, shift, *parameters[1:], EPS)
    assert actual.dtype == x.dtype and actual.is_contiguous()
    maps = exact[0] + exact[1][:, None, None] if has_shift else exact[0]
    expected = F.layer_norm(maps.permute(0, 2, 3, 1), shape[1:2], *exact[-2:], EPS)
    check(actual, expected, tensors, exact, getattr(torch, dtype))


def check_residual(shape, dtype, residual_dtype, scale_dtype):
    images, channels, height, width = shape
    tensors = [
        random(*shape, dtype=dtype),
        random(images, height, width, channels, dtype=residual_dtype, seed=1),
        random(images, channels, 1, 1, dtype=scale_dtype, seed=2),
    ]
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    actual = residual_to_nchw(*tensors)
    expected = scaled_residual(exact[0], exact[1].permute(0, 3, 1, 2), exact[2])
    wanted = (
        torch.addcmul(tensors[0], tensors[1].permute(0, 3, 1, 2), tensors[2])
        if len({dtype, residual_dtype, scale_dtype}) == 1
        else actual
    )
    assert actual.dtype == wanted.dtype and actual.is_contiguous()
    coarsest = max(
        (getattr(torch, name) for name in (dtype, residual_dtype, scale_dtype)),
        key=lambda dtype: torch.finfo(dtype).eps,
    )
    check(actual, expected, tensors, exact, coarsest)


# One block of channels and several, full and not; pixels that no block divides.
CASES = {
    'tiny': (1, 1, 1, 1),
    'odd': (2, 5, 3, 7),
    'several-blocks-of-channels': (1, 70, 5, 4),
    'several-blocks-of-pixels': (2, 33, 6, 9),
}


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('case', CASES)
def test_norm(case, dtype):
    check_norm(CASES[case], dtype, dtype, has_shift=True)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('case', CASES)
def test_residual(case, dtype):
    check_residual(CASES[case], dtype, dtype, dtype)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_autocast_has_parameters_in_float32(dtype):
    check_norm((2, 5, 3, 4), dtype, 'float32', has_shift=True)
    check_residual((2, 5, 3, 4), 'float32', dtype, 'float32')
    x, residual = random(1, 2, 3, 3, dtype=dtype), random(1, 3, 3, 2, dtype=dtype)
    assert residual_to_nchw(x, residual, random(1, 2, 1, 1)).dtype == torch.float32


shapes = st.tuples(*(st.integers(1, n) for n in (2, 40, 7, 7)))


@settings(deadline=None, max_examples=15)
@given(shapes, st.sampled_from(DTYPES), st.booleans())
def test_norm_at_any_size(shape, dtype, has_shift):
    check_norm(shape, dtype, 'float32', has_shift)


@settings(deadline=None, max_examples=15)
@given(shapes, st.sampled_from(DTYPES), st.sampled_from(DTYPES))
def test_residual_at_any_size(shape, dtype, residual_dtype):
    check_residual(shape, dtype, residual_dtype, 'float32')


def test_large_blocks_of_pixels(monkeypatch):
    from mmdcls.ops import nchw_block_kernels

    monkeypatch.setattr(
        nchw_block_kernels, 'block_of_pixels', lambda images, pixels: 128
    )
    check_norm((1, 33, 12, 13), 'float32', 'float32', has_shift=True)
    check_residual((1, 33, 12, 13), 'float32', 'float32', 'float32')


def test_strided_maps_and_gradients():
    x = random(2, 4, 3, 5).transpose(2, 3)
    ones = torch.ones(4, device=DEVICE)
    out = norm_to_channels_last(x, None, ones, ones, EPS)
    expected = F.layer_norm(x.permute(0, 2, 3, 1), (4,), ones, ones, EPS)
    assert_close(out, expected, 'output')
    for value in (out, expected):
        value.register_hook(lambda grad: grad)
    actual, wanted = (
        torch.autograd.grad(value.permute(3, 0, 1, 2).cumsum(0).sum(), x)[0]
        for value in (out, expected)
    )
    assert_close(actual, wanted, 'gradient')


def test_gradients_are_in_nchw_again():
    """Where those of the next stage are not, one conversion is enough for a stage."""
    x, scale = random(2, 3, 4, 5), random(2, 3, 1, 1)
    out = residual_to_nchw(x, random(2, 4, 5, 3), scale)
    grad = random(*x.shape).detach().contiguous(memory_format=torch.channels_last)
    (grad_x,) = torch.autograd.grad(out, x, grad)
    assert grad_x.is_contiguous() and torch.equal(grad_x, grad)


def test_no_images():
    x = random(0, 3, 4, 5)
    ones = random(3)
    out = norm_to_channels_last(x, ones, ones, ones, EPS)
    out = residual_to_nchw(x, out, random(0, 3, 1, 1))
    out.sum().backward()
    assert out.shape == x.shape and ones.grad.eq(0).all()


def test_operators_trace_as_their_fakes_say():
    x, residual = random(2, 3, 4, 5).detach(), random(2, 4, 5, 3).detach()
    ones, scale = random(3).detach(), random(2, 3, 1, 1).detach()
    checks = ('test_schema', 'test_faketensor')
    _, means, factors = nchw_block.norm(x, ones, ones, ones, EPS)
    for operator, arguments in (
        (nchw_block.norm, (x, ones, ones, ones, EPS)),
        (nchw_block.norm_backward, (residual, x, None, ones, means, factors)),
        (nchw_block.add_residual, (x, residual, scale)),
        (nchw_block.add_residual_backward, (x, residual, scale)),
    ):
        torch.library.opcheck(operator, arguments, test_utils=checks)


# --- Which format is taken ----------------------------------------------------------


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_both_formats_compute_the_same(training, dtype):
    """Or the measurement would leave the other one out."""
    called = []
    times = nchw_block.measure_formats(
        *(random(2, 3, 5, 6, dtype=dtype).detach(), (3, 5), training),
        timer=lambda run: called.append(run) or 1.0,
    )
    assert list(times) == ['channels_last', 'nchw']
    results = [run() for run in called]
    assert [len(result) for result in results] == [7 if training else 1] * 2


@pytest.fixture
def asked(monkeypatch):
    """As on a GPU where NCHW is faster; what is asked for is noted."""
    keys = []

    def look_up(key, x, timed, usual):
        keys.append(key)
        return 'nchw'

    monkeypatch.setattr(tuning, '_DEVICE_TYPE', DEVICE)
    monkeypatch.setattr(tuning, 'look_up', look_up)
    return keys


def test_the_format_is_measured_by_mode_and_precision(asked):
    torch.use_deterministic_algorithms(False)
    x = random(2, 3, 5, 6).detach()
    for training in (False, True):
        assert nchw_block.choose_format(x, (3, 3), training) == 'nchw'
    with torch.autocast(DEVICE, torch.bfloat16):
        assert nchw_block.choose_format(x, (3, 3), True) == 'nchw'
    assert nchw_block.choose_format(x.half(), (3, 3), True) == 'nchw'
    assert len(set(asked)) == 4
    assert asked[0].startswith('block inference ') and asked[2].endswith('bfloat16')


@pytest.mark.parametrize('why', ['deterministic', 'refused', 'unknown', 'turned off'])
def test_maps_stay_in_channels_last_where_nothing_is_measured(why, asked, monkeypatch):
    torch.use_deterministic_algorithms(why == 'deterministic')
    if why == 'refused':  # By an old GPU, say.
        monkeypatch.setattr(toeplitz, 'can_run', lambda *arguments: False)
    if why == 'turned off':
        monkeypatch.setenv('MMDCLS_AUTOTUNE', '0')
    if why == 'unknown':  # While a CUDA graph is captured.
        monkeypatch.setattr(tuning, 'look_up', lambda *arguments: None)
    x = random(2, 3, 5, 6).detach()
    assert nchw_block.choose_format(x, (3, 3), False) == 'channels_last'
    assert not asked
