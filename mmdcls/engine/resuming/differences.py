"""Say how a training that goes on differs from the one that wrote its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What of a config decides on the numbers of a training, and what mmengine does with
# values that are not those of the checkpoint.
_SECTIONS = {
    'model': ('architecture', ''),
    'data_preprocessor': ('data preprocessor', ''),
    'train_dataloader': ('batch size or data', ''),
    'optim_wrapper': (
        'optimizer',
        "; of the optimizer's settings, the checkpoint's go on (lr, weight_decay, …)",
    ),
    'param_scheduler': ('schedule', "; the checkpoint's goes on"),
    'train_cfg': ('length or validation', ''),
    'randomness': ('seed', ''),
    'auto_scale_lr': ('scaling of the learning rate', ''),
    'custom_hooks': ('set of hooks', ''),
}
# How fast data comes changes no number, since samples are seeded one by one.
_WITHOUT_EFFECT = ('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory')
# Depends on how the run was started.
_HOOKS_WITHOUT_EFFECT = ('mmdcls.StrictCheckpointHook', 'mmdcls.ExactResumeHook')
_ABSENT = object()


def config_differences(before: Mapping, now: Mapping) -> list[str]:
    """Compare the parts of two configs that decide on the numbers of a training.

    Args:
        before: The config that a checkpoint carries.
        now: The config of the training that goes on from it.

    Returns:
        One line for each part that differs, with the first value that does.
    """
    lines = []
    for section, (label, consequence) in _SECTIONS.items():
        old, new = before.get(section, _ABSENT), now.get(section, _ABSENT)
        if section == 'custom_hooks':
            old, new = _acting(old), _acting(new)
        found = list(_differences(section, old, new))
        if found:
            key, was, is_now = found[0]
            more = f' (and {len(found) - 1} more)' if len(found) > 1 else ''
            lines.append(
                f'Another {label} than in the checkpoint: {key} was {_shown(was)} and '
                f'is {_shown(is_now)}{more}{consequence}.'
            )
    return lines


def _acting(hooks: Any) -> list:
    if not isinstance(hooks, (list, tuple)):
        return []
    return [
        hook
        for hook in hooks
        if not isinstance(hook, Mapping)
        or hook.get('type') not in _HOOKS_WITHOUT_EFFECT
    ]


def _differences(key: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted keys of different values, with both values."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            if name not in _WITHOUT_EFFECT:
                values = old.get(name, _ABSENT), new.get(name, _ABSENT)
                yield from _differences(f'{key}.{name}', *values)
    elif (
        isinstance(old, (list, tuple))
        and isinstance(new, (list, tuple))
        and len(old) == len(new)
    ):
        for number, values in enumerate(zip(old, new, strict=True)):
            yield from _differences(f'{key}[{number}]', *values)
    elif _is_absent(old) and _is_absent(new):
        return
    # By text, since NaN differs from itself.
    elif old != new and repr(old) != repr(new):
        yield key, old, new


def _is_absent(value: Any) -> bool:
    return value is _ABSENT or value is None


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return 'not set'
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
