"""Turn convolutions of a built model into ones with learnable spacings, and back."""

import re
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter

from mmdcls.errors import ArgumentError

from .base import DCLSConvNd
from .conv import DCLSConv1d, DCLSConv2d, DCLSConv3d

_DCLS_CLASSES = {
    nn.Conv1d: DCLSConv1d,
    nn.Conv2d: DCLSConv2d,
    nn.Conv3d: DCLSConv3d,
}
_PLAIN_CLASSES = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def convert_to_dcls(
    model: nn.Module,
    *,
    dilated_kernel_size: int | tuple[int, ...],
    kernel_count: int | None = None,
    select: Callable[[str, Any], bool] | str | None = None,
    share_positions: Callable[[str, Any], Hashable] | str | None = None,
    reproduce: bool = False,
    interpolation: str = 'bilinear',
    position_init: str = 'normal',
    backend: str = 'auto',
) -> nn.Module:
    """Swap convolutions of ``model`` for DCLS ones, in place.

    Each new layer gives the output size of the one that it replaces, has its device,
    dtype and mode, and its own fresh parameters unless ``reproduce``. Considered are
    ``nn.Conv1d``, ``nn.Conv2d`` and ``nn.Conv3d`` themselves, not classes derived from
    them, whose forward pass may differ.

    Args:
        model: Any model; if it is itself a convolution, only the result is converted.
        dilated_kernel_size: Size of the dense kernels; odd where kernels are odd.
        kernel_count: Number of elements of a kernel. Not needed with ``reproduce``.
        select: The convolutions to convert: a function of a convolution's name and
            itself, or a regular expression searched for in its name. By default those
            that are depthwise and larger than 1.
        share_positions: The way in which convolutions share positions: a function of
            name and convolution whose equal results share one tensor (None: not
            shared), or ``'stage'``: chosen convolutions that follow one another with
            the same number of channels. By default each has its own.
        reproduce: Start from the convolution replaced: its weights are the elements,
            placed on its grid, so that the model's output is unchanged.
        interpolation: The interpolation, as in :class:`mmdcls.layers.DCLSConvNd`.
        position_init: The distribution of the first positions, as in
            :class:`mmdcls.layers.DCLSConvNd`.
        backend: The backend's name, as in :class:`mmdcls.layers.DCLSConvNd`.

    Returns:
        ``model``.

    Raises:
        ArgumentError: Nothing is selected; sizes, counts or names do not fit, the
            message names the convolution.

    Example:
        >>> from torch import nn
        >>> depthwise = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 1), depthwise)
        >>> _ = convert_to_dcls(model, dilated_kernel_size=17, kernel_count=34)
        >>> type(model[0]).__name__, type(model[1]).__name__
        ('Conv2d', 'DCLSConv2d')
    """
    chosen = _chosen(model, select)
    if reproduce and interpolation != 'bilinear':
        raise ArgumentError(
            f"reproduce=True needs interpolation='bilinear', not {interpolation!r}"
        )
    if kernel_count is None and not reproduce:
        raise ArgumentError('kernel_count=None is accepted with reproduce=True only')
    keys = _sharing_keys(chosen, share_positions)
    layers: dict[nn.Module, nn.Module] = {}
    shared: dict[Hashable, Parameter] = {}
    for (name, convolution), key in zip(chosen, keys, strict=True):
        try:
            layer = _convert(
                convolution,
                dilated_kernel_size,
                kernel_count,
                reproduce,
                positions=None if key is None else shared.get(key),
                interpolation=interpolation,
                position_init=position_init,
                backend=backend,
            )
        except ArgumentError as error:
            raise ArgumentError(f'{name or "model"}: {error}') from error
        layers[convolution] = layer
        if key is not None:
            shared.setdefault(key, layer.positions)
    return _swap(model, layers)


def convert_to_plain(model: nn.Module) -> nn.Module:
    """Swap the DCLS layers of ``model`` for PyTorch's convolutions, in place.

    These have the dense kernels of the moment and no positions; outputs stay equal.

    Args:
        model: Any model; if it is itself a DCLS layer, only the result is converted.

    Returns:
        ``model``.

    Example:
        >>> from mmdcls.layers import DCLSConv2d
        >>> model = nn.Sequential(DCLSConv2d(4, 4, 3, 5, groups=4))
        >>> convert_to_plain(model)[0]
        Conv2d(4, 4, kernel_size=(5, 5), stride=(1, 1), groups=4)
    """
    layers = {
        module: _plain(module)
        for module in model.modules()
        if isinstance(module, DCLSConvNd)
    }
    return _swap(model, layers)


def _plain(layer: DCLSConvNd) -> nn.Module:
    layer.switch_to_deploy()
    plain: Any = _PLAIN_CLASSES[layer.spatial_dimensions]
    convolution = plain(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        groups=layer.groups,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
        device='meta',
    )
    convolution.weight, convolution.bias = layer.weight, layer.bias
    return convolution.train(layer.training)


def _chosen(model, select):
    """Yield names and convolutions that ``select`` wants, in the model's order."""
    if select is None:
        wanted = _is_large_depthwise
    elif isinstance(select, str):
        pattern = re.compile(select)

        def wanted(name, convolution):
            return pattern.search(name)
    else:
        wanted = select
    convolutions = [
        (name, module)
        for name, module in model.named_modules()
        if type(module) in _DCLS_CLASSES
    ]
    chosen = [pair for pair in convolutions if wanted(*pair)]
    if not chosen:
        raise ArgumentError(
            f'select={select!r} chooses none of the {len(convolutions)} plain '
            f'convolutions of {type(model).__name__}'
        )
    return chosen


def _is_large_depthwise(name, convolution):
    depthwise = convolution.groups == convolution.in_channels > 1
    return depthwise and max(convolution.kernel_size) > 1


def _sharing_keys(chosen, share_positions):
    if share_positions is None:
        return [None] * len(chosen)
    if callable(share_positions):
        return [share_positions(*pair) for pair in chosen]
    if share_positions != 'stage':
        raise ArgumentError(
            f"share_positions={share_positions!r} is unknown; accepted are 'stage', a "
            'function, None'
        )
    keys, stage, previous = [], 0, None
    for _, convolution in chosen:
        channels = convolution.weight.shape[:2]
        stage += channels != previous
        previous = channels
        keys.append(stage)
    return keys


def _convert(convolution, size, kernel_count, reproduce, **options) -> DCLSConvNd:
    elements = convolution.weight[0, 0].numel()
    if reproduce and kernel_count not in (None, elements):
        raise ArgumentError(
            f'kernel_count={kernel_count} with reproduce=True must be {elements}, the '
            f'number of elements of kernel_size={convolution.kernel_size}'
        )
    layer = _DCLS_CLASSES[type(convolution)](
        convolution.in_channels,
        convolution.out_channels,
        kernel_count=elements if kernel_count is None else kernel_count,
        dilated_kernel_size=size,
        kernel_size=convolution.kernel_size,
        stride=convolution.stride,
        padding=convolution.padding,
        dilation=convolution.dilation,
        groups=convolution.groups,
        bias=convolution.bias is not None,
        padding_mode=convolution.padding_mode,
        device=convolution.weight.device,
        dtype=convolution.weight.dtype,
        **options,
    )
    if reproduce:
        _reproduce(layer, convolution, options['positions'] is not None)
    return layer.train(convolution.training)


@torch.no_grad()
def _reproduce(layer, convolution, shared):
    """Place the elements of ``convolution`` on its grid, centred in the kernel."""
    axes = []
    for size, taps, dilation in zip(
        layer.kernel_size, convolution.kernel_size, convolution.dilation, strict=True
    ):
        extent = dilation * (taps - 1) + 1
        if size < extent:
            raise ArgumentError(
                f'dilated_kernel_size={size} cannot hold the grid of the convolution '
                f'replaced, which spans {extent}'
            )
        first = (size - 1) // 2 - (extent - 1) // 2
        axes.append(torch.arange(taps) * dilation + first - size // 2)
    grid = torch.stack(torch.meshgrid(*axes, indexing='ij')).flatten(1)
    grid = grid[:, None, None, :].expand_as(layer.positions).to(layer.positions)
    if shared and not torch.equal(layer.positions, grid):
        raise ArgumentError(
            'reproduce=True with share_positions needs equal grids, and this '
            'convolution differs in dilation or shape from others that it shares with'
        )
    layer.positions.copy_(grid)
    layer.weight.copy_(convolution.weight.flatten(2))
    if layer.bias is not None:
        layer.bias.copy_(convolution.bias)


def _swap(model, layers):
    """Put each layer in all places of the convolution that it stands for."""
    places = list(model.named_modules(remove_duplicate=False))
    for name, module in places:
        if module not in layers:
            continue
        if not name:
            return layers[module]
        parent, _, child = name.rpartition('.')
        setattr(model.get_submodule(parent), child, layers[module])
    return model
