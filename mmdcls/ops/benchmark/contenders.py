"""The contenders, which are what the benchmark times against each other.

They are a DCLS layer, the layer of the released package, and steps of both.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mmdcls.ops import construct_kernel, depthwise_conv2d

try:
    from DCLS.construct.modules import Dcls2d as ReleasedDcls2d
except ImportError:
    ReleasedDcls2d = None

RELEASED_VERSIONS = {'bilinear': 'v0', 'triangle': 'max', 'gaussian': 'gauss'}


class DCLSLayer(nn.Module):
    """A depthwise DCLS layer built from the operators of ``mmdcls.ops`` alone.

    Args:
        channels: Number of channels.
        kernel_size: Dilated kernel size, rows and columns alike.
        kernel_count: Elements per channel.
        interpolation: The interpolation, as in ``mmdcls.ops.construct_kernel``.

    Attributes:
        backend: The backend, as in ``mmdcls.ops.depthwise_conv2d``.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        kernel_count: int,
        interpolation: str = 'bilinear',
    ):
        super().__init__()
        self.backend = 'auto'
        self.interpolation = interpolation
        self.kernel_size = (kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.randn(channels, 1, kernel_count) / 6)
        positions = torch.randn(2, channels, 1, kernel_count) * kernel_size / 4
        limit = kernel_size // 2
        self.positions = nn.Parameter(positions.clamp(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(channels))
        # The widths that the released package starts with.
        width = {'triangle': 0.0, 'gaussian': 0.23}.get(interpolation)
        self.sigma = (
            None
            if width is None
            else nn.Parameter(torch.full_like(self.positions, width))
        )

    def construct_kernel(self) -> torch.Tensor:
        """Return the dense kernel, (channels, 1, rows, columns)."""
        return construct_kernel(
            self.weight,
            self.positions,
            self.kernel_size,
            interpolation=self.interpolation,
            sigma=self.sigma,
        )

    def forward(self, x: torch.Tensor, kernel: torch.Tensor | None = None):
        """Convolve ``x``, (N, channels, H, W), with ``kernel`` or a fresh one."""
        if kernel is None:
            kernel = self.construct_kernel().to(x.dtype)
        bias = self.bias.to(x.dtype)
        padding = self.kernel_size[0] // 2
        return depthwise_conv2d(x, kernel, bias, padding=padding, backend=self.backend)


def released_layer(layer: DCLSLayer) -> nn.Module:
    """Make the released package's layer with the parameters of ``layer``."""
    channels, _, count = layer.weight.shape
    size = layer.kernel_size[0]
    released = ReleasedDcls2d(
        channels,
        channels,
        count,
        padding=size // 2,
        dilated_kernel_size=size,
        groups=channels,
        version=RELEASED_VERSIONS[layer.interpolation],
        use_implicit_gemm=False,
    )
    released = released.to(layer.weight.device)
    with torch.no_grad():
        released.weight.copy_(layer.weight)
        # Its versions other than v0 put columns first.
        first_axis = slice(None) if layer.sigma is None else [1, 0]
        released.P.copy_(layer.positions[first_axis])
        if layer.sigma is not None:
            released.SIG.copy_(layer.sigma[first_axis])
        released.bias.copy_(layer.bias)
    return released


def inference(module: nn.Module, *inputs: torch.Tensor) -> Callable[[], object]:
    """Return a function that runs ``module`` without autograd."""

    def run():
        with torch.no_grad():
            return module(*inputs)

    return run


def train_step(
    module: nn.Module, x: torch.Tensor, grad_output: torch.Tensor
) -> Callable[[], object]:
    """Return a function that runs ``module`` forward and back, for all gradients."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    x = x.detach().requires_grad_()

    def run():
        return torch.autograd.grad(module(x), [x, *parameters], grad_output)

    return run


def construction_step(layer: Any, grad_kernel: torch.Tensor) -> Callable[[], object]:
    """Return a function that builds a layer's kernel and all of its gradients."""
    if isinstance(layer, DCLSLayer):
        sources: tuple = layer.weight, layer.positions, layer.sigma
        construct: Callable = layer.construct_kernel
    else:
        sources = layer.weight, layer.P, layer.SIG
        construct = functools.partial(layer.DCK, *sources)
    parameters = [source for source in sources if source is not None]
    return lambda: torch.autograd.grad(construct(), parameters, grad_kernel)
