"""What the convolutions with learnable spacings share, paper §2 and §3."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import Parameter, init

from mmdcls.errors import ArgumentError, ArgumentTypeError
from mmdcls.ops import construct_kernel, depthwise_conv2d
from mmdcls.ops.backends import BACKENDS
from mmdcls.ops.kernel import INTERPOLATIONS

from .arguments import (
    PADDING_MODES,
    accept_convolution_call,
    check_memory,
    check_one_of,
    size_keeping_padding,
    to_sizes,
)
from .cache import KernelCache, can_keep, check_numbers, is_readable, keep_kernel

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

# As in the released package: widths 0.23 + 0.27 = 0.5 and 0.0 + 1.0.
_INITIAL_SIGMA = {'gaussian': 0.23, 'triangle': 0.0}


class DCLSConvNd(nn.Module):
    """What the DCLS layers share; use one of those.

    A kernel has ``kernel_count`` elements, each with a learnable weight and a learnable
    position inside of a kernel of ``dilated_kernel_size``, and is made dense by
    :func:`mmdcls.ops.construct_kernel` in each forward pass. All else is as in
    ``nn.ConvNd``; there is no dilation, as spacings are what is learned.

    The layer can be called as ``nn.ConvNd`` is, with ``kernel_count`` by keyword:
    ``conv_cfg=dict(type='mmdcls.DCLSConv2d', kernel_count=34, dilated_kernel_size=17)``
    wherever mmcv builds a convolution. Its output size is then that of the convolution
    it stands for.

    Weights and bias start as in ``nn.ConvNd`` for ``kernel_count`` elements, positions
    from a normal distribution of standard deviation 0.5, clamped (paper §3).

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_count: Number of elements of a kernel, ``m``.
        dilated_kernel_size: Size of the dense kernel along the axes with positions.
        stride: The stride, as in ``nn.ConvNd``.
        padding: The padding, as in ``nn.ConvNd``, ``'same'`` and ``'valid'`` included.
        groups: The number of groups, as in ``nn.ConvNd``.
        bias: Whether there is a learnable bias.
        padding_mode: ``'zeros'``, ``'reflect'``, ``'replicate'`` or ``'circular'``.
        interpolation: ``'bilinear'``, ``'triangle'`` or ``'gaussian'``.
        dense_kernel_size: Size of the kernel along the leading axes that have no
            positions (``DCLSConv2_1d``, ``DCLSConv3_1d`` and ``DCLSConv3_2d`` only).
        position_init: ``'normal'``, or ``'uniform'`` over the kernel.
        positions: A Parameter of another layer to share instead of a new one.
        backend: Name of the backend that runs a depthwise 2D convolution of stride 1,
            see :func:`mmdcls.ops.depthwise_conv2d`.
        deploy: Build the folded layer that :meth:`switch_to_deploy` leaves, to load its
            state dict.
        kernel_size: That of a convolution that this one replaces. ``padding`` is then
            that of the replaced one, and is enlarged to keep its output size.
        dilation: That of the replaced convolution; needs ``kernel_size``.
        device: The device that the parameters are made on.
        dtype: The data type of the parameters.

    Attributes:
        weight: ``(out_channels, in_channels / groups, *dense_kernel_size, m)``.
        positions: ``(d, *weight.shape)``, in pixels from the centre of the kernel,
            first axis first.
        sigma: Shaped as ``positions``, or None if bilinear.
        bias: ``(out_channels,)`` or None.
        kernel_size: Sizes of the dense kernel along all axes.

    Raises:
        ArgumentTypeError: ``dtype`` is not of floating point.
        ArgumentError: An argument is out of range, unknown or of the wrong shape.
    """

    spatial_dimensions: int
    learned_dimensions: int

    weight: Parameter
    # None once the layer is folded, which most code never meets.
    positions: Parameter
    sigma: Parameter | None
    bias: Parameter | None

    positions_have_options: bool = False
    """Set by what gives the positions a learning rate and weight decay of their own."""

    @accept_convolution_call
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_count: int,
        dilated_kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | str = 0,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = 'zeros',
        interpolation: str = 'bilinear',
        *,
        dense_kernel_size: int | tuple[int, ...] = 1,
        position_init: str = 'normal',
        positions: Parameter | None = None,
        backend: str = 'auto',
        deploy: bool = False,
        kernel_size: int | tuple[int, ...] | None = None,
        dilation: int | tuple[int, ...] = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._set_sizes(kernel_count, dense_kernel_size, dilated_kernel_size)
        self._set_channels(in_channels, out_channels, groups)
        self._set_padding(stride, padding, padding_mode, kernel_size, dilation)
        check_one_of('interpolation', interpolation, INTERPOLATIONS)
        check_one_of('position_init', position_init, ('normal', 'uniform'))
        self.interpolation = interpolation
        self.position_init = position_init
        self._set_backend(backend)
        self.deploy = deploy
        self._cache = KernelCache()
        self._make_parameters(bias, positions, device, dtype)
        self.reset_parameters(reset_positions=positions is None)

    def _set_sizes(self, kernel_count, dense_kernel_size, dilated_kernel_size):
        self.kernel_count = to_sizes('kernel_count', kernel_count, 1, 1)[0]
        self.dilated_kernel_size = to_sizes(
            'dilated_kernel_size', dilated_kernel_size, self.learned_dimensions, 1
        )
        dense_dimensions = self.spatial_dimensions - self.learned_dimensions
        if dense_dimensions == 0 and dense_kernel_size != 1:
            raise ArgumentError(
                f'dense_kernel_size={dense_kernel_size!r} has no meaning for '
                f'{type(self).__name__}, which has positions along all axes'
            )
        self.dense_kernel_size = to_sizes(
            'dense_kernel_size', dense_kernel_size, dense_dimensions, 1
        )
        self.kernel_size = self.dense_kernel_size + self.dilated_kernel_size

    def _set_channels(self, in_channels, out_channels, groups):
        self.in_channels = to_sizes('in_channels', in_channels, 1, 1)[0]
        self.out_channels = to_sizes('out_channels', out_channels, 1, 1)[0]
        self.groups = to_sizes('groups', groups, 1, 1)[0]
        for name in ('in_channels', 'out_channels'):
            if getattr(self, name) % groups:
                raise ArgumentError(
                    f'{name}={getattr(self, name)} is not divisible by groups={groups}'
                )
        inputs = self.in_channels // self.groups
        check_memory(self.out_channels, inputs, self.kernel_size, 'dilated_kernel_size')

    def _set_padding(self, stride, padding, padding_mode, kernel_size, dilation):
        dimensions = self.spatial_dimensions
        check_one_of('padding_mode', padding_mode, PADDING_MODES)
        self.stride = to_sizes('stride', stride, dimensions, 1)
        dilation = to_sizes('dilation', dilation, dimensions, 1)
        if isinstance(padding, str):
            check_one_of('padding', padding, ('same', 'valid'))
            if padding == 'same' and self.stride != (1,) * dimensions:
                raise ArgumentError(f"padding='same' needs stride 1, not {stride!r}")
        if padding == 'valid':
            padding = 0
        if padding != 'same':
            padding = to_sizes('padding', padding, dimensions, 0)
            if kernel_size is not None:
                padding = size_keeping_padding(
                    self.kernel_size,
                    to_sizes('kernel_size', kernel_size, dimensions, 1),
                    dilation,
                    padding,
                )
        if kernel_size is None and dilation != (1,) * dimensions:
            raise ArgumentError(
                f'dilation={dilation} has no meaning for a convolution that learns its '
                'spacings; make dilated_kernel_size larger instead'
            )
        self.padding = padding
        self.padding_mode = padding_mode
        # What mmcv's ConvModule reads of any convolution.
        self.dilation = (1,) * dimensions
        self.transposed = False
        self.output_padding = (0,) * dimensions

    def _set_backend(self, backend):
        check_one_of('backend', backend, ('auto', *BACKENDS))
        self._is_depthwise = (
            self.spatial_dimensions == 2
            and self.in_channels == self.out_channels == self.groups
            and self.stride == (1, 1)
        )
        if backend != 'auto' and not self._is_depthwise:
            raise ArgumentError(
                f'backend={backend!r} is for depthwise 2D convolutions of stride 1; '
                "this one takes 'auto' only"
            )
        self.backend = backend

    def _make_parameters(self, bias, positions, device, dtype):
        dtype = dtype or torch.get_default_dtype()
        if not dtype.is_floating_point:
            raise ArgumentTypeError(f'dtype={dtype} must be of floating point')
        factory = {'device': device, 'dtype': dtype}
        channels = self.out_channels, self.in_channels // self.groups
        shape = *channels, *self.dense_kernel_size, self.kernel_count
        positions_shape = self.learned_dimensions, *shape
        sigma = None
        if self.deploy:
            if positions is not None:
                raise ArgumentError(
                    'positions is given with deploy=True, which has none'
                )
            shape = *channels, *self.kernel_size
        else:
            if positions is None:
                positions = Parameter(torch.empty(positions_shape, **factory))
            _check_shared(positions, positions_shape)
            if self.interpolation in _INITIAL_SIGMA:
                sigma = Parameter(torch.empty(positions_shape, **factory))
        self.weight = Parameter(torch.empty(shape, **factory))
        self.register_parameter('positions', positions)
        self.register_parameter('sigma', sigma)
        bias = Parameter(torch.empty(self.out_channels, **factory)) if bias else None
        self.register_parameter('bias', bias)

    @torch.no_grad()
    def reset_parameters(self, reset_positions: bool = True) -> None:
        """Draw all parameters anew; ``reset_positions=False`` keeps the positions."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            init.uniform_(self.bias, -bound, bound)
        if self.sigma is not None:
            init.constant_(self.sigma, _INITIAL_SIGMA[self.interpolation])
        if self.positions is None or not reset_positions:
            return
        for position, size in zip(
            self.positions, self.dilated_kernel_size, strict=True
        ):
            if self.position_init == 'uniform':
                init.uniform_(position, -(size // 2), size // 2)
            else:
                init.normal_(position, std=0.5)
        self.clamp_positions()

    def init_weights(self) -> None:
        """Keep what the constructor drew: mmcv initialises layers without this."""

    @torch.no_grad()
    def clamp_positions(self) -> None:
        """Clamp positions in place to +-(size // 2); to be done after each update.

        Raises:
            ArgumentError: Positions are NaN (seen on a CPU only).
        """
        if self.positions is None:
            return
        if is_readable(self.positions):
            check_numbers(self.positions)
        for position, size in zip(
            self.positions, self.dilated_kernel_size, strict=True
        ):
            position.clamp_(-(size // 2), size // 2)

    def construct_kernel(self) -> Tensor:
        """Build ``(out_channels, in_channels / groups, *kernel_size)``, dense."""
        if self.deploy:
            return self.weight
        return self._construct(self.weight, self.positions, self.sigma)

    def _construct(self, weight, positions, sigma):
        return construct_kernel(
            weight,
            positions,
            self.dilated_kernel_size,
            interpolation=self.interpolation,
            sigma=sigma,
        )

    @torch.no_grad()
    def switch_to_deploy(self) -> None:
        """Fold positions and weight into the weight of a plain convolution, in place.

        The output stays equal, and the state dict is that of ``nn.ConvNd``.
        """
        if self.deploy:
            return
        kernel = self.construct_kernel()
        self.weight = Parameter(kernel, requires_grad=self.weight.requires_grad)
        self.positions = self.sigma = None  # type: ignore[assignment]
        self.deploy = True
        self._cache = KernelCache()

    def forward(self, x: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Convolve ``(N, C_in, *size)`` or ``(C_in, *size)``, as ``nn.ConvNd`` does.

        ``kernel`` is what :meth:`construct_kernel` gives, if it is there already.
        """
        return self._conv_forward(x, self.weight, self.bias, kernel)

    # The name and arguments by which mmcv's efficient_conv_bn_eval folds a
    # normalisation into the weight; a kernel is linear in its weight, so it may.
    def _conv_forward(self, x, weight, bias, kernel=None):
        if kernel is None:
            kernel = self._kernel_for(weight)
        padding = self.padding
        if self.padding_mode != 'zeros' or padding == 'same':
            x, padding = self._pad(x), (0,) * self.spatial_dimensions
        if self._is_depthwise and x.ndim == 4:
            return depthwise_conv2d(
                x, kernel, bias, padding=padding, backend=self.backend
            )
        convolution = _CONVOLUTIONS[self.spatial_dimensions]
        return convolution(x, kernel, bias, self.stride, padding, groups=self.groups)

    def _kernel_for(self, weight):
        if self.deploy:
            return weight
        sources = weight, self.positions, self.sigma
        if self._keeps_kernel(weight):
            size, interpolation = self.dilated_kernel_size, self.interpolation
            return keep_kernel(self._cache, *sources, size, interpolation)
        return self._construct(*sources)

    def _keeps_kernel(self, weight):
        return not self.training and can_keep(weight, self.positions, self.sigma)

    def _pad(self, x):
        """Pad ``x`` as ``F.convNd`` cannot: by mode, or unequally on the two sides."""
        sides: list[int] = []
        for axis, size in enumerate(self.kernel_size):
            if self.padding == 'same':
                lower = (size - 1) // 2
                upper = size - 1 - lower
            else:
                lower = upper = self.padding[axis]
            sides = [lower, upper, *sides]
        mode = 'constant' if self.padding_mode == 'zeros' else self.padding_mode
        return F.pad(x, sides, mode=mode)

    def extra_repr(self) -> str:
        """Say the sizes, then whatever is not the default."""
        parts = [
            f'{self.in_channels}, {self.out_channels}',
            f'kernel_count={self.kernel_count}',
            f'dilated_kernel_size={self.dilated_kernel_size}',
            f'stride={self.stride}',
        ]
        none = (0,) * self.spatial_dimensions
        optional = {
            'dense_kernel_size': (self.dense_kernel_size, ()),
            'padding': (self.padding, none),
            'groups': (self.groups, 1),
            'bias': (self.bias is not None, True),
            'padding_mode': (self.padding_mode, 'zeros'),
            'interpolation': (self.interpolation, 'bilinear'),
            'backend': (self.backend, 'auto'),
            'deploy': (self.deploy, False),
        }
        parts += [
            f'{name}={value!r}'
            for name, (value, default) in optional.items()
            if value != default
        ]
        return ', '.join(parts)


def iter_dcls_layers(model: nn.Module) -> Iterator[DCLSConvNd]:
    """Go through the layers of ``model`` that have positions; folded ones have none.

    Positions may be shared: their owners are all gone through.
    """
    for _, layer in named_dcls_layers(model):
        yield layer


def named_dcls_layers(model: nn.Module) -> Iterator[tuple[str, DCLSConvNd]]:
    """Go through the layers of :func:`iter_dcls_layers` with their names in ``model``.

    A layer that stands in several places has the first one's name.

    Example:
        >>> from mmdcls.layers import DCLSConv2d
        >>> model = nn.Sequential(nn.ReLU(), DCLSConv2d(2, 2, 3, 5))
        >>> [name for name, _ in named_dcls_layers(model)]
        ['1']
    """
    for name, module in model.named_modules():
        if isinstance(module, DCLSConvNd) and not module.deploy:
            yield name, module


def _check_shared(positions, shape):
    if positions.shape != shape:
        raise ArgumentError(
            f'positions to share are of shape {tuple(positions.shape)}; this layer '
            f'needs {shape}'
        )
    if not isinstance(positions, Parameter):
        raise ArgumentTypeError(
            f'positions is a {type(positions).__name__}, not a Parameter'
        )
