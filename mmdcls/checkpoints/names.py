"""Where a checkpoint keeps a model's tensors, and what wrappers add to their names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

Value = TypeVar('Value')

# OpenMMLab, Lightning and timm; the authors' and torchvision's scripts; DeepSpeed.
PLAIN_KEYS = ('state_dict', 'model', 'module')

# Averaged weights of ConvNeXt's own training and torchvision, and of timm. mmengine's
# 'ema_state_dict' is not here: it holds the weights that are not averaged.
EMA_KEYS = ('model_ema', 'state_dict_ema')

# At the front of a name: DDP, DataParallel and averaged models; Lightning modules.
FRONT_WRAPPERS = ('module', 'model', 'net')

# Anywhere in a name: torch.compile, FSDP, activation checkpointing, Lightning Fabric.
INNER_WRAPPERS = (
    '_orig_mod',
    '_fsdp_wrapped_module',
    '_checkpoint_wrapped_module',
    '_forward_module',
)

# The counters that averaged models of torch and mmengine keep beside 'module.'.
AVERAGING_COUNTERS = ('n_averaged', 'steps')


def find_state_dict(content: Mapping, prefer_ema: bool = False) -> tuple[str, Mapping]:
    """Find the model's tensors in what a checkpoint file holds.

    Args:
        content: The dictionary in the file.
        prefer_ema: Whether to take averaged weights where there are both.

    Returns:
        The key that the tensors are under, ``'bare'`` if they are all there is, and
        the tensors.
    """
    keys = (*EMA_KEYS, *PLAIN_KEYS) if prefer_ema else PLAIN_KEYS
    for key in keys:
        if isinstance(content.get(key), Mapping):
            return key, content[key]
    return 'bare', content


def strip_wrappers(
    state_dict: Mapping[str, Value],
    expected: Collection[str] = (),
    front: Collection[str] = FRONT_WRAPPERS,
) -> dict[str, Value]:
    """Take from the names what known wrappers of models add to them.

    These are ``module.``, ``model.`` and ``net.`` at the front, ``_orig_mod.`` and its
    like anywhere, each as often as it occurs. The counter of an averaged model is left
    out. No tensor is lost otherwise: where two would get the same name, the wrapped one
    keeps its own, which no model has, so that a comparison with a model reports it.

    Args:
        state_dict: Tensors by their names in the file.
        expected: The names that the model has. Of these nothing is taken: a model may
            itself have a part called ``model``.
        front: The wrappers whose names are taken from the front.

    Returns:
        The tensors in the same order, by the names that an unwrapped model has.
    """
    stripped = {}
    for name, value in state_dict.items():
        if name in AVERAGING_COUNTERS and _is_averaged(state_dict, name, expected):
            continue
        bare = _bare_name(name, expected, front)
        taken = bare in stripped or (bare != name and bare in state_dict)
        stripped[name if taken else bare] = value
    return stripped


def note_unknown_prefix(names: Iterable[str]) -> str:
    """Say which first part all names share, if they do, for the end of a message.

    Args:
        names: The names in a file that fits no model, without the known wrappers'.

    Returns:
        A clause that starts with a semicolon; nothing if there is no such part.
    """
    roots = {name.partition('.')[0] if '.' in name else '' for name in names}
    if len(roots) != 1 or '' in roots:
        return ''
    return (
        f"; all names in the file begin with '{roots.pop()}.', which no known wrapper "
        'adds: take it off if your training did'
    )


def _bare_name(name: str, expected: Collection[str], front: Collection[str]) -> str:
    if name in expected:
        return name
    name = '.'.join(part for part in name.split('.') if part not in INNER_WRAPPERS)
    root, dot, rest = name.partition('.')
    while dot and root in front and name not in expected:
        name = rest
        root, dot, rest = name.partition('.')
    return name


def _is_averaged(
    state_dict: Mapping[str, object], counter: str, expected: Collection[str]
) -> bool:
    return counter not in expected and all(
        name == counter or name.startswith('module.') for name in state_dict
    )
