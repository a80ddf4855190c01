"""Which modules FSDP shards as one."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from torch import nn

from mmdcls.layers import named_dcls_layers
from mmdcls.registry import FUNCTIONS

# Whether a module is a stage, for the modules of every model that was asked about.
_known: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@FUNCTIONS.register_module()
def wrap_stages(
    module: nn.Module, recurse: bool, nonwrapped_numel: int, **kwargs
) -> bool:
    """Have FSDP shard each stage as one, with the positions that its blocks share.

    An ``auto_wrap_policy``: ``strategy=dict(type='mmdcls.FSDPStrategy',
    model_wrapper=dict(auto_wrap_policy='mmdcls.wrap_stages'))``. See
    :func:`find_stages` for what a stage is; all that is in none belongs to the model as
    a whole.

    Args:
        module: The model, in the first call, then its parts.
        recurse: Whether FSDP asks if it shall look into ``module``, or if it shall wrap
            it.
        nonwrapped_numel: The number of parameters; does not matter here.
        **kwargs: Does not matter here.
    """
    if recurse:
        if module not in _known:
            stages = find_stages(module)
            _known.update((part, part in stages) for part in module.modules())
        return True
    return _known.get(module, False)


def find_stages(model: nn.Module) -> set[nn.Module]:
    """Find the smallest modules with all DCLS layers of a stage in them.

    A stage is what shares a position tensor; of layers that share none, those with the
    same channels. A module with a part only of what shares a tensor is no stage, nor is
    one that is not called, as ``nn.ModuleList``, nor ``model`` itself.
    """
    layers = dict(named_dcls_layers(model))
    owners: dict[int, list[str]] = {}
    for name, layer in layers.items():
        owners.setdefault(id(layer.positions), []).append(name)
    alike: dict[object, list[str]] = {}
    for key, names in owners.items():
        first = layers[names[0]]
        channels = (first.in_channels, first.out_channels)
        alike.setdefault(key if len(names) > 1 else channels, []).extend(names)
    stages = {_common_module(model, names, layers) for names in alike.values()}
    return {
        model.get_submodule(stage)
        for stage in stages
        if stage
        and all(
            len({name.startswith(f'{stage}.') for name in names}) == 1
            for names in owners.values()
        )
    }


def _common_module(model: nn.Module, names: list[str], layers: Iterable[str]) -> str:
    """Return the name of the smallest module that is called and holds all of these.

    A stage of one block is the sequence that holds it: a block may be checkpointed,
    and FSDP must not be run anew by that.
    """
    paths = [name.split('.')[:-1] for name in names]
    common = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    while common and not _is_called(model.get_submodule('.'.join(common))):
        common.pop()
    while len(common) > 1:
        parent = '.'.join(common[:-1])
        inside = {name for name in layers if name.startswith(f'{parent}.')}
        is_sequence = isinstance(model.get_submodule(parent), nn.Sequential)
        if not is_sequence or inside != set(names):
            break
        common.pop()
    return '.'.join(common)


def _is_called(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward
