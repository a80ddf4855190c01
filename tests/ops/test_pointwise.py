import pytest
import torch
import torch.nn.functional as F
from helpers.tolerances import assert_close
from helpers.versions import needs_compile, needs_export_told_apart
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdcls.ops import linear_gelu_linear, pointwise, scaled_residual

NAMES = ('x', 'weight1', 'bias1', 'weight2', 'bias2')


def make_arguments(shape=(2, 3), channels=4, hidden=7, out=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = (*shape, channels), (hidden, channels), (hidden,), (out, hidden), (out,)
    return [
        torch.randn(size, generator=generator, dtype=dtype).requires_grad_()
        for size in shapes
    ]


def expected(x, weight1, bias1, weight2, bias2):
    return F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize('grad', [True, False])
@settings(deadline=None, max_examples=10)
@given(
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    channels=st.integers(1, 5),
    hidden=st.integers(1, 9),
    out=st.integers(1, 5),
)
def test_equals_the_layers_one_by_one(dtype, grad, shape, channels, hidden, out):
    arguments = make_arguments(shape, channels, hidden, out, dtype)
    with torch.set_grad_enabled(grad):
        actual, wanted = linear_gelu_linear(*arguments), expected(*arguments)
    assert actual.requires_grad == grad
    assert_close(actual, wanted, 'output')


@pytest.mark.parametrize('memory', ['contiguous', 'strided'])
@pytest.mark.parametrize('frozen', [(), *[(name,) for name in NAMES], NAMES[1:]])
def test_gradients_of_what_is_trained(frozen, memory):
    arguments = make_arguments()
    for name, argument in zip(NAMES, arguments, strict=True):
        argument.requires_grad_(name not in frozen)
    if memory == 'strided':
        arguments[0] = arguments[0].detach().mT.contiguous().mT
        arguments[0].requires_grad_('x' not in frozen)
    trained = [argument for argument in arguments if argument.requires_grad]
    grad = torch.randn(3, 5, 2, dtype=torch.float64).permute(2, 0, 1)
    actual, wanted = (
        torch.autograd.grad(function(*arguments), trained, grad)
        for function in (linear_gelu_linear, expected)
    )
    for one, other in zip(actual, wanted, strict=True):
        assert_close(one, other, 'gradient')


def test_gradcheck():
    assert torch.autograd.gradcheck(linear_gelu_linear, make_arguments())


def test_second_derivative_is_refused():
    arguments = make_arguments()
    (grad,) = torch.autograd.grad(
        linear_gelu_linear(*arguments).square().sum(), arguments[0], create_graph=True
    )
    with pytest.raises(RuntimeError, match='once_differentiable'):
        grad.sum().backward()


def test_arguments_are_not_written_to():
    arguments = make_arguments(dtype=torch.float32)
    copies = [argument.detach().clone() for argument in arguments]
    linear_gelu_linear(*arguments).sum().backward()
    with torch.no_grad():
        linear_gelu_linear(*arguments)
    for argument, copy in zip(arguments, copies, strict=True):
        assert torch.equal(argument, copy)


def test_one_tensor_of_the_hidden_values_is_kept():
    arguments = make_arguments((50,), hidden=64)
    sizes = []

    def note(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        linear_gelu_linear(*arguments)
    assert sizes.count(50 * 64) == 1


@torch.no_grad()
def test_without_onednn(monkeypatch):
    arguments = make_arguments(dtype=torch.float32)
    assert pointwise._has_onednn_linear(arguments[0])
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    assert not pointwise._has_onednn_linear(arguments[0])
    assert_close(linear_gelu_linear(*arguments), expected(*arguments), 'output')


def test_autocast_has_the_layers_own():
    arguments = make_arguments(dtype=torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        actual, wanted = linear_gelu_linear(*arguments), expected(*arguments)
    assert actual.dtype == torch.bfloat16
    assert torch.equal(actual, wanted)


@needs_compile
def test_compiles_without_a_graph_break():
    arguments = make_arguments(dtype=torch.float32)
    compiled = torch.compile(linear_gelu_linear, fullgraph=True, backend='aot_eager')
    actual, wanted = compiled(*arguments), expected(*arguments)
    assert_close(actual, wanted, 'output')
    actual, wanted = (
        torch.autograd.grad(output.sum(), arguments) for output in (actual, wanted)
    )
    for one, other in zip(actual, wanted, strict=True):
        assert_close(one, other, 'gradient')


@needs_export_told_apart
def test_compiled_without_gradients_is_one_operator():
    arguments = make_arguments(dtype=torch.float32)
    operators = []

    def note(graph, inputs):
        operators.extend(node.target for node in graph.graph.nodes)
        return graph

    compiled = torch.compile(linear_gelu_linear, fullgraph=True, backend=note)
    with torch.no_grad():
        assert_close(compiled(*arguments), expected(*arguments), 'output')
    assert torch.ops.mmdcls.linear_gelu_linear.default in operators


@pytest.mark.slow
@needs_export_told_apart
def test_compiled_by_inductor():
    arguments = make_arguments(dtype=torch.float32)
    with torch.no_grad():
        actual = torch.compile(linear_gelu_linear)(*arguments)
    assert_close(actual, expected(*arguments), 'output')


@needs_compile
@pytest.mark.parametrize('strict', [True, False])
def test_exported_as_layers_of_pytorch(strict):
    class Block(torch.nn.Module):
        def forward(self, *arguments):
            return linear_gelu_linear(*arguments)

    arguments = tuple(make_arguments(dtype=torch.float32))
    with torch.no_grad():
        program = torch.export.export(Block(), arguments, strict=strict)
    names = [str(node.target) for node in program.graph.nodes]
    assert 'aten.gelu.default' in names
    assert not any('mmdcls' in name or 'mkldnn' in name for name in names)


@pytest.mark.parametrize('needed', [(True, True, True), (False, True, False)])
def test_scaled_residual(needed):
    torch.manual_seed(0)
    x, residual = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5)
    tensors = x, residual.double(), torch.randn(2, 3, 1, 1, dtype=torch.float64)
    for tensor, need in zip(tensors, needed, strict=True):
        tensor.requires_grad_(need)
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    output = scaled_residual(*tensors)
    expected = torch.addcmul(*tensors)
    assert_close(output, expected, 'output')
    for actual, value in zip(
        torch.autograd.grad(output.square().sum(), wanted),
        torch.autograd.grad(expected.square().sum(), wanted),
        strict=True,
    ):
        assert_close(actual, value, 'gradient')


@needs_compile
@pytest.mark.parametrize('grad', [False, True])
def test_scaled_residual_compiles_without_a_graph_break(grad):
    torch.manual_seed(0)
    shapes = (2, 3, 4, 5), (2, 3, 4, 5), (2, 3, 1, 1)
    tensors = [torch.randn(shape, requires_grad=grad) for shape in shapes]
    compiled = torch.compile(scaled_residual, backend='aot_eager', fullgraph=True)
    assert_close(compiled(*tensors), torch.addcmul(*tensors), 'output')
