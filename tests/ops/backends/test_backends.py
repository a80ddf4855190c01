"""What backends share, and what is particular to the implicit-GEMM extension."""

import os
import subprocess
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from helpers.tolerances import assert_close

from mmdcls.errors import ArgumentError, MissingPackageError, MmdclsError
from mmdcls.ops import backends
from mmdcls.ops.backends import BACKENDS, OPERATIONS, choices, toeplitz
from mmdcls.ops.backends.gpu import triton_is


@pytest.mark.parametrize('backend', BACKENDS)
def test_every_backend_has_the_same_functions(backend):
    for name in (*OPERATIONS, 'can_run'):
        assert callable(getattr(BACKENDS[backend], name))


def test_the_table_names_backends_for_every_operation_and_size():
    assert ('cpu', 'float32') in choices.CHOICES
    for table in choices.CHOICES.values():
        assert set(table) == set(OPERATIONS)
        for rows in table.values():
            assert list(rows) == sorted(rows)
            for names in rows.values():
                assert len(names) == len(choices.MAP_SIZES)
                assert set(names) <= set(BACKENDS) - {'implicit_gemm'}


def test_triton_is_imported_only_when_used():
    code = (
        'import sys; import mmdcls.ops.depthwise; '
        "assert not {'triton', 'mmengine', 'mmcv'} & set(sys.modules)"
    )
    # torch itself may import triton: what counts is what this package adds.
    code = code.replace("{'triton',", "{'mmdcls.ops.backends.triton_kernels',")
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, '-c', code], env=environment, check=True)


@pytest.mark.parametrize(
    ('backend', 'package', 'message'),
    [
        ('triton', 'triton', "needs the package 'triton' 3.4 .* is not installed"),
        ('toeplitz', 'triton', "'toeplitz' needs the package 'triton'"),
        (
            'implicit_gemm',
            'depthwise_conv2d_implicit_gemm',
            "needs the extension 'depthwise_conv2d_implicit_gemm'",
        ),
    ],
)
def test_missing_packages_are_named(backend, package, message, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    monkeypatch.setattr('mmdcls.ops.backends.gpu.triton_version', lambda: None)
    x = torch.zeros(1, 2, 4, 4)
    assert not BACKENDS[backend].can_run('forward', x, (3, 3), (1, 1))
    with pytest.raises(MissingPackageError, match=message):
        BACKENDS[backend].can_run('forward', x, (3, 3), (1, 1), raise_error=True)


def test_an_old_triton_is_named(monkeypatch):
    monkeypatch.setattr('mmdcls.ops.backends.gpu.triton_version', lambda: '2.1.0')
    with pytest.raises(MissingPackageError, match='triton is of version 2.1.0'):
        BACKENDS['triton'].can_run(
            *('forward', torch.zeros(1, 2, 4, 4), (3, 3), (1, 1)), raise_error=True
        )


@pytest.mark.parametrize(
    ('version', 'is_new'),
    [(None, False), ('2.1.0', False), ('3.6.0', False), ('3.7.1', True)]
    + [('3.10.0+git1', True), ('4.0', True)],
)
def test_versions_of_triton_are_compared_as_numbers(version, is_new, monkeypatch):
    monkeypatch.setattr('mmdcls.ops.backends.gpu.triton_version', lambda: version)
    assert triton_is(3, 7) == is_new


def test_the_version_of_triton_is_read_without_importing_it():
    from mmdcls.ops.backends.gpu import triton_version

    triton = pytest.importorskip('triton')
    assert triton_version() == triton.__version__


@pytest.mark.parametrize('backend', [name for name in BACKENDS if name != 'aten'])
def test_every_refusal_is_an_error_that_a_user_can_mend(backend, monkeypatch):
    """A batch without images on a CPU is what ``'aten'`` alone takes."""
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    arguments = ('forward', torch.zeros(0, 2, 4, 4), (3, 3), (1, 1))
    assert BACKENDS['aten'].can_run(*arguments, raise_error=True)
    assert not BACKENDS[backend].can_run(*arguments)
    with pytest.raises(MmdclsError, match=f"^backend '{backend}' .*[.]$"):
        BACKENDS[backend].can_run(*arguments, raise_error=True)


@pytest.mark.parametrize(
    ('backend', 'dtype', 'columns', 'capability', 'message'),
    [
        ('triton', torch.int32, 3, (9, 0), 'got torch.int32'),
        ('toeplitz', torch.float64, 3, (9, 0), 'got torch.float64'),
        ('toeplitz', torch.float16, 3, (7, 5), 'capability 8.0; Old GPU has 7.5'),
        ('toeplitz', torch.float16, 97, (9, 0), 'up to 96 columns, got 97'),
        ('toeplitz', torch.float32, 3, (9, 0), 'only where TF32 is allowed'),
    ],
)
def test_triton_says_why_it_refuses_what_a_gpu_holds(
    backend, dtype, columns, capability, message, monkeypatch
):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setattr(toeplitz, 'allows_tf32', lambda: False)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'Old GPU')
    monkeypatch.setattr('mmdcls.ops.backends.gpu.has_triton', lambda: True)
    x = types.SimpleNamespace(device=torch.device('cuda'), dtype=dtype)
    arguments = ('forward', x, (3, columns), (1, 1))
    assert not BACKENDS[backend].can_run(*arguments)
    with pytest.raises(ArgumentError, match=message):
        BACKENDS[backend].can_run(*arguments, raise_error=True)


# --- The implicit-GEMM extension ----------------------------------------------------


class StandInFunction(torch.autograd.Function):
    """What the extension does, in PyTorch: its padding is always ``k // 2``."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=x.shape[1])

    @staticmethod
    def backward(ctx, grad_output):
        x, weight = (t.detach().requires_grad_() for t in ctx.saved_tensors)
        with torch.enable_grad():
            output = StandInFunction.forward(ctx, x, weight)
        return torch.autograd.grad(output, (x, weight), grad_output)


@pytest.fixture
def extension(monkeypatch):
    name = 'depthwise_conv2d_implicit_gemm'
    module = types.ModuleType(name)
    module.__spec__ = types.SimpleNamespace(name=name)
    module._DepthWiseConv2dImplicitGEMMFP32 = StandInFunction
    module._DepthWiseConv2dImplicitGEMMFP16 = StandInFunction
    monkeypatch.setitem(sys.modules, name, module)


def test_implicit_gemm_operations(extension):
    x, weight = torch.randn(2, 3, 6, 7), torch.randn(3, 1, 5, 5)
    exact = [tensor.clone().requires_grad_() for tensor in (x, weight)]
    expected = F.conv2d(*exact, padding=2, groups=3)
    grad_output = torch.randn_like(expected)
    grad_x, grad_weight = torch.autograd.grad(expected, exact, grad_output)
    backend = backends.implicit_gemm
    bias = torch.randn(3)
    with torch.no_grad():
        output = backend.forward(x, weight, bias, (2, 2))
        assert_close(output, expected + bias[:, None, None], 'output')
        actual = backend.grad_input(grad_output, weight, (6, 7), (2, 2))
        assert_close(actual, grad_x, 'gradient')
        actual = backend.grad_weight(x, grad_output, (5, 5), (2, 2))
        assert_close(actual, grad_weight, 'gradient')


@pytest.mark.parametrize(
    ('device', 'dtype', 'kernel_size', 'padding', 'message'),
    [
        ('cpu', torch.float32, (5, 5), (2, 2), 'accepts CUDA tensors only, got .* cpu'),
        ('cuda', torch.bfloat16, (5, 5), (2, 2), 'got torch.bfloat16'),
        ('cuda', torch.float32, (5, 3), (2, 1), r'odd square .* \(5, 3\)'),
        ('cuda', torch.float32, (4, 4), (2, 2), r'odd square .* \(4, 4\)'),
        ('cuda', torch.float32, (5, 5), (1, 1), r'with padding \(1, 1\)'),
    ],
)
def test_implicit_gemm_says_why_it_refuses(
    device, dtype, kernel_size, padding, message, extension
):
    x = types.SimpleNamespace(device=torch.device(device), dtype=dtype)
    arguments = ('forward', x, kernel_size, padding)
    assert not backends.implicit_gemm.can_run(*arguments)
    with pytest.raises(ArgumentError, match=message):
        backends.implicit_gemm.can_run(*arguments, raise_error=True)


def test_implicit_gemm_accepts_what_the_extension_does(extension):
    x = types.SimpleNamespace(device=torch.device('cuda'), dtype=torch.float16)
    assert backends.implicit_gemm.can_run('forward', x, (31, 31), (15, 15))
