"""Kernels built in one launch."""

import pytest
import torch
from helpers.tolerances import assert_close
from helpers.versions import needs_triton
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcls.ops import construct_kernel, kernel
from mmdcls.ops.fused_construction import construct, construct_backward
from mmdcls.ops.kernel import INTERPOLATIONS

pytestmark = [needs_triton, pytest.mark.triton]

# A CUDA device, or the CPU through Triton's interpreter.
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


def make(layers, rows, count, kernel_size, interpolation, seed=0):
    """Weight, positions and sigma; some elements lie on the grid, some outside."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(*layers, rows, count, generator=generator)
    size = torch.tensor(kernel_size).view(2, 1, 1)
    positions = (torch.rand(2, rows, count, generator=generator) - 0.5) * (size + 3)
    positions[:, :, 0] = torch.tensor(kernel_size)[:, None] // 2
    positions[:, :, 1:2] = 0
    tensors = [weight, positions]
    if interpolation != 'bilinear':
        tensors.append(torch.randn(2, *weight.shape, generator=generator) / 2)
    return [tensor.to(DEVICE).requires_grad_() for tensor in tensors]


def build(tensors, kernel_size, interpolation):
    weight, positions, *sigma = tensors
    return construct_kernel(
        weight,
        positions,
        kernel_size,
        interpolation=interpolation,
        sigma=sigma[0] if sigma else None,
    )


def check_parity(layers, rows, count, kernel_size, interpolation):
    """Kernel and gradients against the formulation in PyTorch, in float64."""
    tensors = make(layers, rows, count, kernel_size, interpolation)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    actual = build(tensors, kernel_size, interpolation)
    expected = build(exact, kernel_size, interpolation)
    assert 'FusedKernel' in actual.grad_fn.next_functions[0][0].name()
    assert_close(actual.double(), expected, 'kernel', torch.float32)
    grad = torch.randn_like(actual)
    for gradient, value in zip(
        torch.autograd.grad(actual, tensors, grad),
        torch.autograd.grad(expected, exact, grad.double()),
        strict=True,
    ):
        assert_close(gradient.double(), value, 'gradient', torch.float32)


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize(
    ('layers', 'rows', 'count', 'kernel_size'),
    [
        ((), 3, 34, (17, 17)),
        ((3,), 2, 40, (17, 17)),
        ((2,), 2, 7, (5, 9)),
        ((1,), 1, 2, (4, 31)),
    ],
    ids=['17x17', 'three-layers', 'rectangular', 'even'],
)
def test_parity(layers, rows, count, kernel_size, interpolation):
    check_parity(layers, rows, count, kernel_size, interpolation)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(2, 20),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from(INTERPOLATIONS),
)
def test_parity_at_any_size(layers, rows, count, kernel_size, interpolation):
    check_parity((layers,), rows, count, kernel_size, interpolation)


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_nan_among_the_positions_shows(interpolation):
    tensors = make((), 2, 5, (7, 7), interpolation)
    with torch.no_grad():
        tensors[1][0, 0, 3] = torch.nan
    result = build(tensors, (7, 7), interpolation)
    assert result[0].isnan().any() and result[1].isfinite().all()


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_operators_trace_as_their_fakes_say(interpolation):
    weight, positions, *sigma = (
        tensor.detach() for tensor in make((2,), 2, 5, (5, 7), interpolation)
    )
    arguments = weight, positions, sigma[0] if sigma else None, [5, 7], interpolation
    grad = torch.randn(2, 2, 5, 7, device=DEVICE)
    checks = ('test_schema', 'test_faketensor')
    torch.library.opcheck(construct, arguments, test_utils=checks)
    torch.library.opcheck(construct_backward, (grad, *arguments), test_utils=checks)


def test_what_is_too_large_or_exact_is_built_in_pytorch(monkeypatch):
    def refuse(*arguments):
        raise AssertionError('fused')

    monkeypatch.setattr(kernel.FusedKernel, 'apply', refuse)
    for size, count, dtype in [
        ((65, 3), 2, torch.float32),
        ((3, 3), 129, torch.float32),
        ((3, 3), 2, torch.float64),
    ]:
        tensors = [t.to(dtype) for t in make((), 2, count, size, 'bilinear')]
        assert build(tensors, size, 'bilinear').shape == (2, *size)
