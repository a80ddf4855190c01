import itertools
import subprocess
import sys

import pytest
import torch
from helpers.tolerances import assert_close
from helpers.versions import needs_compile
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcls.ops import construct_kernel, reference

INTERPOLATIONS = ('bilinear', 'triangle', 'gaussian')
SIZES = [(1,), (5,), (8,), (1, 1), (5, 5), (3, 6), (8, 1), (3, 3, 3), (4, 3, 2)]


def make_arguments(
    kernel_size,
    batch=(2, 3),
    count=4,
    interpolation='bilinear',
    dtype=torch.float64,
    seed=0,
):
    """Weight, positions and sigma; positions of every kind, also beyond the kernel."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(kernel_size), *batch, count)
    weight = torch.randn(shape[1:], generator=generator, dtype=dtype)
    reach = torch.tensor([size / 2 + 2 for size in kernel_size], dtype=dtype)
    reach = reach.view(-1, *(1,) * (len(shape) - 1))
    positions = (2 * torch.rand(shape, generator=generator, dtype=dtype) - 1) * reach
    kind = torch.randint(4, shape, generator=generator)
    limit = reach - 2
    positions = torch.where(kind == 1, positions.round(), positions)
    positions = torch.where(kind == 2, positions.sign() * limit.floor(), positions)
    sigma = None
    if interpolation != 'bilinear':
        sigma = torch.randn(shape, generator=generator, dtype=dtype)
    return [
        None if tensor is None else tensor.requires_grad_()
        for tensor in (weight, positions, sigma)
    ]


def gradients_of(kernel, arguments):
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(kernel.shape, generator=generator, dtype=kernel.dtype)
    inputs = [argument for argument in arguments if argument is not None]
    return torch.autograd.grad(kernel, inputs, grad, materialize_grads=True)


def check_against_reference(kernel_size, interpolation, **options):
    arguments = make_arguments(kernel_size, interpolation=interpolation, **options)
    weight, positions, sigma = arguments
    actual, expected = (
        construct(
            weight, positions, kernel_size, interpolation=interpolation, sigma=sigma
        )
        for construct in (construct_kernel, reference.construct_kernel)
    )
    assert_close(actual, expected, 'kernel')
    for one, other in zip(
        gradients_of(actual, arguments),
        gradients_of(expected, arguments),
        strict=True,
    ):
        assert_close(one, other, 'gradient')


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('kernel_size', SIZES, ids=str)
def test_equals_the_equations(kernel_size, interpolation):
    check_against_reference(kernel_size, interpolation)


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@settings(deadline=None, max_examples=15)
@given(
    kernel_size=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    batch=st.lists(st.integers(1, 3), max_size=3).map(tuple),
    count=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_equals_the_equations_for_any_shape(
    interpolation, kernel_size, batch, count, seed
):
    check_against_reference(
        kernel_size, interpolation, batch=batch, count=count, seed=seed
    )


def test_gradients_are_equations_17_to_19():
    size = 7
    weight, positions, _ = make_arguments((size, size), batch=(3,), count=5)
    with torch.no_grad():
        positions.clamp_(-3, 2.5)
    kernel = construct_kernel(weight, positions, (size, size))
    g = torch.randn(kernel.shape, dtype=torch.float64)
    grad_weight, grad_positions = torch.autograd.grad(kernel, (weight, positions), g)
    g = torch.nn.functional.pad(g, (0, 1, 0, 1))  # weight outside is dropped
    for c, i in itertools.product(range(3), range(5)):
        w = weight[c, i].item()
        p1, p2 = (positions[:, c, i] + size // 2).tolist()
        f1, f2 = int(p1 // 1), int(p2 // 1)
        r1, r2 = p1 - f1, p2 - f2
        g00, g10, g01, g11 = (
            g[c, f1 + a, f2 + b].item() for a, b in ((0, 0), (1, 0), (0, 1), (1, 1))
        )
        expected = torch.tensor(
            [
                (1 - r1) * (1 - r2) * g00
                + r1 * (1 - r2) * g10
                + (1 - r1) * r2 * g01
                + r1 * r2 * g11,
                w * (-(1 - r2) * g00 + (1 - r2) * g10 - r2 * g01 + r2 * g11),
                w * (-(1 - r1) * g00 - r1 * g10 + (1 - r1) * g01 + r1 * g11),
            ],
            dtype=torch.float64,
        )
        actual = torch.stack([grad_weight[c, i], *grad_positions[:, c, i]])
        assert_close(actual, expected, 'gradient')


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('kernel_size', [(6,), (5, 4), (3, 2, 4)], ids=str)
def test_gradcheck(kernel_size, interpolation):
    weight, _, sigma = make_arguments(
        kernel_size, batch=(2,), count=3, interpolation=interpolation
    )
    # Away from integers, where the derivative of a hat jumps.
    positions = torch.rand(len(kernel_size), 2, 3, dtype=torch.float64) * 0.8 + 0.1
    positions = (positions + torch.randint(-3, 3, positions.shape)).requires_grad_()

    def construct(weight, positions, *sigma):
        return construct_kernel(
            weight,
            positions,
            kernel_size,
            interpolation=interpolation,
            sigma=sigma[0] if sigma else None,
        )

    sigma = () if sigma is None else (sigma,)
    assert torch.autograd.gradcheck(construct, (weight, positions, *sigma))


def test_overlapping_elements_add_up():
    kernel = construct_kernel(torch.tensor([2.0, 3.0]), torch.zeros(2, 2), (3, 5))
    expected = torch.zeros(3, 5)
    expected[1, 2] = 5
    assert torch.equal(kernel, expected)


@pytest.mark.parametrize(
    ('position', 'expected'),
    [
        (-2.0, [1, 0, 0, 0, 0]),
        (-2.25, [0.75, 0, 0, 0, 0]),
        (-3.0, [0, 0, 0, 0, 0]),
        (-1e6, [0, 0, 0, 0, 0]),
        (2.0, [0, 0, 0, 0, 1]),
        (2.25, [0, 0, 0, 0, 0.75]),
        (3.0, [0, 0, 0, 0, 0]),
        (1e30, [0, 0, 0, 0, 0]),
        (-0.25, [0, 0.25, 0.75, 0, 0]),
    ],
)
def test_weight_outside_is_dropped(position, expected):
    kernel = construct_kernel(torch.ones(1), torch.tensor([[position]]), (5,))
    assert kernel.tolist() == expected


def test_axes_of_positions_are_those_of_the_kernel():
    positions = torch.tensor([[1.0], [-2.0], [0.0]])
    kernel = construct_kernel(torch.ones(1), positions, (3, 5, 2))
    assert kernel.nonzero().tolist() == [[2, 0, 1]]


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_positions_that_are_no_numbers_do_no_harm(interpolation, value):
    """NaN shows in its own kernel; no other kernel changes."""
    weight, positions, sigma = make_arguments(
        (5, 4), batch=(3,), count=2, interpolation=interpolation
    )
    options = {'interpolation': interpolation, 'sigma': sigma}
    expected = construct_kernel(weight, positions, (5, 4), **options)
    with torch.no_grad():
        positions[0, 1, 0] = value
    kernel = construct_kernel(weight, positions, (5, 4), **options)
    if value != value:
        assert kernel[1].isnan().any()
    kernel[[0, 2]].sum().backward()
    assert_close(kernel[[0, 2]], expected[[0, 2]], 'kernel')
    assert weight.grad[[0, 2]].isfinite().all()


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_arithmetic_is_in_float32_at_least(interpolation, dtype):
    arguments = make_arguments((9, 9), interpolation=interpolation, dtype=dtype)
    weight, positions, sigma = arguments
    kernel = construct_kernel(
        weight, positions, (9, 9), interpolation=interpolation, sigma=sigma
    )
    wide = [None if a is None else a.detach().float() for a in arguments]
    expected = construct_kernel(
        *wide[:2], (9, 9), interpolation=interpolation, sigma=wide[2]
    )
    assert torch.equal(kernel, expected.to(dtype))
    assert {grad.dtype for grad in gradients_of(kernel, arguments)} == {dtype}


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_gaussian_kernel_has_no_subnormal_numbers(dtype):
    # A processor takes many times as long to multiply with them.
    torch.manual_seed(0)
    weight = torch.randn(64, 1, 34, dtype=dtype)
    positions = torch.randn(2, 64, 1, 34, dtype=dtype)
    sigma = torch.zeros_like(positions)
    kernel = construct_kernel(
        weight, positions, (31, 31), interpolation='gaussian', sigma=sigma
    )
    assert (kernel == 0).any() and (kernel != 0).any()
    assert not ((kernel != 0) & (kernel.abs() < torch.finfo(dtype).tiny)).any()


def test_positions_of_higher_precision_are_used():
    weight, positions, _ = make_arguments((7, 7))
    kernel = construct_kernel(weight.float(), positions, (7, 7))
    expected = construct_kernel(weight.float().double(), positions, (7, 7))
    assert torch.equal(kernel, expected.float())


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_autocast_has_no_effect(interpolation):
    arguments = make_arguments((5, 5), interpolation=interpolation, dtype=torch.float32)
    weight, positions, sigma = arguments

    def construct():
        return construct_kernel(
            weight, positions, (5, 5), interpolation=interpolation, sigma=sigma
        )

    expected = construct()
    wanted = gradients_of(expected, arguments)
    with torch.autocast('cpu', torch.bfloat16):
        kernel = construct()
        actual = gradients_of(kernel, arguments)
    assert torch.equal(kernel, expected)
    assert all(map(torch.equal, actual, wanted))


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('kernel_size', [(6,), (5, 4), (3, 2, 4)], ids=str)
def test_a_kept_graph_gives_the_same_gradients_again(kernel_size, interpolation):
    weight, positions, sigma = make_arguments(kernel_size, interpolation=interpolation)
    inputs = [x for x in (weight, positions, sigma) if x is not None]
    kernel = construct_kernel(
        weight, positions, kernel_size, interpolation=interpolation, sigma=sigma
    )
    grad = torch.randn_like(kernel)
    before = grad.clone()
    first = torch.autograd.grad(kernel, inputs, grad, retain_graph=True)
    second = torch.autograd.grad(kernel, inputs, grad)
    assert all(map(torch.equal, first, second))
    assert torch.equal(grad, before)


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_second_derivative_is_refused(interpolation):
    weight, positions, sigma = make_arguments((5, 5), interpolation=interpolation)
    kernel = construct_kernel(
        weight, positions, (5, 5), interpolation=interpolation, sigma=sigma
    )
    (grad,) = torch.autograd.grad(kernel.square().sum(), positions, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        grad.sum().backward()


def test_memory_for_the_backward_pass_does_not_grow_with_the_kernel():
    def saved_numbers(size):
        count = 0

        def pack(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        weight, positions, _ = make_arguments((size, size))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            construct_kernel(weight, positions, (size, size))
        return count

    assert 0 < saved_numbers(31) == saved_numbers(3)


@needs_compile
@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_compiled_with_fullgraph(interpolation):
    arguments = make_arguments((5, 4), interpolation=interpolation, dtype=torch.float32)
    weight, positions, sigma = arguments
    options = {'interpolation': interpolation, 'sigma': sigma}
    compiled = torch.compile(construct_kernel, fullgraph=True, backend='aot_eager')
    kernel = compiled(weight, positions, (5, 4), **options)
    expected = construct_kernel(weight, positions, (5, 4), **options)
    assert_close(kernel, expected, 'kernel')
    for one, other in zip(
        gradients_of(kernel, arguments), gradients_of(expected, arguments), strict=True
    ):
        assert_close(one, other, 'gradient')


WEIGHT = torch.ones(4, 2, 3)
POSITIONS = torch.zeros(2, 4, 2, 3)


@pytest.mark.parametrize(
    ('arguments', 'options', 'error', 'message'),
    [
        ((WEIGHT, POSITIONS, (5, 5)), {'interpolation': 'cubic'}, ValueError, 'cubic'),
        ((WEIGHT, POSITIONS, (5, 0)), {}, ValueError, r'\(5, 0\).*at least 1'),
        ((WEIGHT, POSITIONS, ()), {}, ValueError, '1 to 3 sizes'),
        ((WEIGHT, POSITIONS, (5,)), {}, ValueError, r'must be \(1, 4, 2, 3\)'),
        ((WEIGHT, POSITIONS[:, :3], (5, 5)), {}, ValueError, r'\(2, 3, 2, 3\)'),
        ((WEIGHT[..., :0], POSITIONS, (5, 5)), {}, ValueError, 'm >= 1'),
        ((WEIGHT[0, 0, 0], POSITIONS, (5, 5)), {}, ValueError, 'm >= 1'),
        ((WEIGHT.int(), POSITIONS, (5, 5)), {}, TypeError, 'weight.*int32'),
        ((WEIGHT, POSITIONS.long(), (5, 5)), {}, TypeError, 'positions.*int64'),
        (
            (WEIGHT, POSITIONS.to('meta'), (5, 5)),
            {},
            ValueError,
            'meta.*must be on cpu',
        ),
        (
            (WEIGHT, POSITIONS, (5, 5)),
            {'sigma': POSITIONS},
            ValueError,
            'sigma is given',
        ),
        (
            (WEIGHT, POSITIONS, (5, 5)),
            {'interpolation': 'gaussian'},
            ValueError,
            'sigma is missing',
        ),
        (
            (WEIGHT, POSITIONS, (5, 5)),
            {'interpolation': 'triangle', 'sigma': WEIGHT},
            ValueError,
            r'sigma is of shape \(4, 2, 3\)',
        ),
    ],
)
def test_bad_input_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        construct_kernel(*arguments, **options)


def test_ops_need_torch_only():
    code = (
        'import sys, mmdcls.ops; '
        'print([name for name in sys.modules if name.split(".")[0].startswith("mm") '
        'and name.split(".")[0] not in ("mmdcls", "mmap")])'
    )
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == '[]'


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
@pytest.mark.parametrize('kernel_size', [(5,), (5, 8), (3, 4, 3)])
def test_layers_that_share_positions(kernel_size, interpolation):
    """Built together they are what each is alone; the gradients of positions add up."""
    generator = torch.Generator().manual_seed(0)
    dimensions, dtype = len(kernel_size), torch.float64
    weight = torch.randn(3, 2, 4, generator=generator, dtype=dtype)
    positions = 3 * torch.randn(dimensions, 2, 4, generator=generator, dtype=dtype)
    tensors = [weight.requires_grad_(), positions.requires_grad_()]
    sigma = None
    if interpolation != 'bilinear':
        sigma = torch.rand(dimensions, *weight.shape, generator=generator, dtype=dtype)
        tensors.append(sigma.requires_grad_())

    def build(layer):
        return construct_kernel(
            weight[layer],
            positions,
            kernel_size,
            interpolation=interpolation,
            sigma=None if sigma is None else sigma[:, layer],
        )

    together = build(slice(None))
    alone = torch.stack([build(layer) for layer in range(3)])
    assert_close(together, alone, 'kernel')
    grad = torch.randn_like(alone)
    for actual, expected in zip(
        torch.autograd.grad(together, tensors, grad),
        torch.autograd.grad(alone, tensors, grad),
        strict=True,
    ):
        assert_close(actual, expected, 'gradient')


@pytest.mark.parametrize(
    ('positions', 'sigma', 'message'),
    [
        ((2, 2, 3), None, r'positions is of shape \(2, 2, 3\); it must be \(2, 2, 4\)'),
        ((2, 3, 2, 4), (2, 2, 4), r'sigma .* must be \(2, 3, 2, 4\)'),
        ((2, 9, 3, 2, 4), None, r'must be \(2, 3, 2, 4\)'),
    ],
)
def test_shapes_that_cannot_be_shared_are_named(positions, sigma, message):
    with pytest.raises(ValueError, match=message):
        construct_kernel(
            torch.zeros(3, 2, 4),
            torch.zeros(positions),
            (5, 5),
            interpolation='gaussian' if sigma else 'bilinear',
            sigma=torch.zeros(sigma) if sigma else None,
        )
