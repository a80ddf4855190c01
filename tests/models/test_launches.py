"""How many operations a training step of the backbone launches on a GPU."""

import collections

import pytest
import torch
from helpers.versions import needs_compile, needs_triton
from mmpretrain.models.backbones.convnext import ConvNeXtBlock
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mmdcls.models import ConvNeXtDCLS, stage
from mmdcls.models.convnext_block import run_in_nchw
from mmdcls.ops import kernel, nchw_block
from mmdcls.ops.backends import toeplitz

# What only makes a view, reserves memory or asks for a type.
NO_LAUNCH = {
    '_reshape_alias', '_unsafe_view', 'alias', 'as_strided', 'detach', 'empty',
    'empty_like', 'empty_strided', 'expand', 'new_empty', 'new_empty_strided',
    'permute', 'promote_types', 'select', 'slice', 'split', 'squeeze', 't', 'transpose',
    'unbind', 'unfold', 'unsqueeze', 'view',
}  # fmt: skip


KERNELS = {
    'backends.toeplitz_kernels': ('launch', 'launch_sum'),
    'nchw_block_kernels': ('launch_norm', 'launch_norm_backward', 'launch_residual'),
}
"""What launches the Triton kernels of a block on NCHW maps."""


class Launches(TorchDispatchMode):
    """Counts the operations that compute something.

    With ``size``, those only that have a tensor of at least that many values; each
    gradient of a convolution is then one of its own, as on a GPU.
    """

    def __init__(self, size=0):
        super().__init__()
        self.counts = collections.Counter()
        self.size = size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split('::')[1].split('.')[0]
        result = function(*args, **(kwargs or {}))
        tensors = [
            t for t in tree_flatten((args, kwargs, result))[0] if torch.is_tensor(t)
        ]
        if name not in NO_LAUNCH and any(t.numel() >= self.size for t in tensors):
            gradients = name == 'convolution_backward' and self.size
            self.counts[name] += len(tree_flatten(result)[0]) if gradients else 1
        return result


@needs_compile
@pytest.mark.parametrize('nchw', [False, True], ids=['channels_last', 'nchw'])
def test_launches_of_a_training_step(nchw, monkeypatch):
    """At most 600; the plain ConvNeXt-T has 524. Tensors are without memory."""
    monkeypatch.setattr(kernel, 'can_fuse', lambda *arguments: True)
    monkeypatch.setattr(toeplitz, 'can_run', lambda *arguments, **kwargs: True)
    monkeypatch.setattr(stage, 'takes_nchw', lambda *arguments: nchw)
    model = ConvNeXtDCLS(arch='tiny', drop_path_rate=0.1).train().to('meta')
    for blocks in model.stages:
        # Sharing is lost on the way to the meta device.
        for block in blocks:
            block.depthwise_conv.positions = blocks[0].depthwise_conv.positions
    with Launches() as launches:
        model(torch.empty(2, 3, 224, 224, device='meta'))[-1].sum().backward()
    counts = launches.counts
    assert counts['construct'] == counts['construct_backward'] == 4
    assert counts['norm_nchw'] == (18 if nchw else 0)
    assert counts.total() <= 600
    if nchw:  # At the ends of stages, which convert maps and their gradients once.
        assert counts['clone'] <= 16


SHAPE = 2, 96, 56, 56


def passes(block, call):
    """The passes over whole maps of a training step of a block."""
    block = block.train().to('meta')
    x = torch.empty(SHAPE, device='meta', requires_grad=True)
    with Launches(x.numel()) as launches:
        call(block, x).backward(torch.empty(SHAPE, device='meta'))
    return launches.counts


@needs_compile
def test_a_block_on_nchw_has_no_pass_that_the_plain_block_has_not(monkeypatch):
    """mmpretrain's has one more than what counts here: LayerNorm copies its maps."""
    monkeypatch.setattr(toeplitz, 'can_run', lambda *arguments, **kwargs: True)
    plain = passes(ConvNeXtBlock(96, drop_path_rate=0.1), lambda block, x: block(x))
    block = ConvNeXtDCLS(arch='tiny', drop_path_rate=0.1).stages[0][1]
    built = torch.empty(96, 1, 17, 17, device='meta', requires_grad=True)
    ours = passes(block, lambda block, x: run_in_nchw(block, x, built))
    assert ours == {
        **{'toeplitz_correlate': 2, 'toeplitz_correlate_sum': 1},
        **{'norm_nchw': 1, 'norm_nchw_backward': 1},
        **{'residual_nchw': 1, 'residual_nchw_backward': 1},
        # What the pointwise layers and the sum of two gradients are.
        **{name: plain[name] for name in ('addmm', 'mm', 'gelu', 'gelu_backward')},
        **{'sum': 2, 'add': 1},
    }
    assert ours.total() < plain.total(), plain


@needs_triton
def test_operators_on_nchw_do_nothing_but_launch(monkeypatch):
    """No conversion is hidden in them: maps come as the kernels take them."""
    launched = []

    def launch(*tensors, **options):
        launched.append(tensors)
        return torch.empty(1, 96, 17, 1, 17, device='meta')

    for module, names in KERNELS.items():
        for name in names:
            monkeypatch.setattr(f'mmdcls.ops.{module}.{name}', launch)
    x = torch.empty(SHAPE, device='meta')
    last = torch.empty(2, 56, 56, 96, device='meta')
    ones, pixels = torch.empty(96, device='meta'), last[..., 0]
    kernels, scale = x.new_empty(96, 1, 17, 17), x.new_empty(2, 96, 1, 1)
    calls = [
        (toeplitz.correlate, (x, kernels, None, [8, 8], False)),
        (toeplitz.correlate_sum, (x, x, [8, 8])),
        (nchw_block.norm, (x, ones, ones, ones, 1e-6)),
        (nchw_block.norm_backward, (last, x, ones, ones, pixels, pixels)),
        (nchw_block.add_residual, (x, last, scale)),
    ]
    with Launches(x.numel()) as launches:
        for operator, arguments in calls:
            operator._init_fn(*arguments)
    assert len(launched) == len(calls) and not launches.counts
