"""How many operations a training step of the backbone launches on a GPU."""

import collections

import torch
from helpers.versions import needs_compile
from torch.utils._python_dispatch import TorchDispatchMode

from mmdcls.models import ConvNeXtDCLS
from mmdcls.ops import kernel

# What only makes a view, reserves memory or asks for a type.
NO_LAUNCH = {
    '_reshape_alias', '_unsafe_view', 'alias', 'as_strided', 'detach', 'empty',
    'empty_like', 'empty_strided', 'expand', 'new_empty', 'new_empty_strided',
    'permute', 'promote_types', 'select', 'slice', 'split', 'squeeze', 't', 'transpose',
    'unbind', 'unfold', 'unsqueeze', 'view',
}  # fmt: skip


class Launches(TorchDispatchMode):
    """Counts the operations that compute something."""

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split('::')[1].split('.')[0]
        self.counts[name] += name not in NO_LAUNCH
        return function(*args, **(kwargs or {}))


@needs_compile
def test_launches_of_a_training_step(monkeypatch):
    """At most 600; the plain ConvNeXt-T has 524. Tensors are without memory."""
    monkeypatch.setattr(kernel, 'can_fuse', lambda *arguments: True)
    model = ConvNeXtDCLS(arch='tiny', drop_path_rate=0.1).train().to('meta')
    for stage in model.stages:
        # Sharing is lost on the way to the meta device.
        for block in stage:
            block.depthwise_conv.positions = stage[0].depthwise_conv.positions
    with Launches() as launches:
        model(torch.empty(2, 3, 224, 224, device='meta'))[-1].sum().backward()
    assert launches.counts['construct'] == launches.counts['construct_backward'] == 4
    assert launches.counts.total() <= 600
