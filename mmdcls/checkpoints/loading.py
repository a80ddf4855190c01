"""The guarded way in for weights that a model starts from.

mmengine loads what fits, skips the rest and leaves a warning in the log, so that a
training from the wrong file shows only in its scores.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .comparison import Differences, compare_state_dicts
from .names import find_state_dict, note_unknown_prefix, strip_wrappers
from .reading import CheckpointError, check_tensors

_CONVERTER = 'tools/model_converters/official_to_mmdcls.py'
_OFFICIAL_ADVICE = (
    f'; its names are those of the released models: convert it with {_CONVERTER}'
)
_OFFICIAL_LAYER = re.compile(r'(^|\.)stages\.\d+\.\d+\.dwconv\.')
_DEPTHWISE_WEIGHT = re.compile(r'(^|\.)(dwconv|depthwise_conv)\.weight$')
_NAMES_SHOWN = 4

if TYPE_CHECKING:
    from mmengine.model import BaseModule as _Module
else:
    _Module = object  # The upstream class, which comes after the mixin, is the module.


def check_weights(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    source: object,
    part: str,
    allow_mismatch: bool = False,
    all_layers: bool = True,
) -> None:
    """Say how many tensors of a part of a model a file has, and refuse a wrong file.

    Norms may be on one side only, since a segmentor normalises more of a backbone's
    outputs than a classifier; a layer may not, or half of the model would start from
    noise.

    Args:
        expected: The part's state dict.
        found: The file's tensors for this part, under the part's own names.
        source: The file's name, for the messages.
        part: The words that messages have for the part, such as ``'backbone'``.
        allow_mismatch: Whether to go on with the tensors that fit, if there are any.
        all_layers: Whether to refuse layers (tensors of two axes or more) that only one
            has.

    Raises:
        CheckpointError: If no tensor of the part is in the file. Unless
            ``allow_mismatch``, also if tensors are of another shape, and if only the
            file or only the part has layers.
    """
    # As mmengine does: files of old versions of PyTorch lack these counters.
    expected = {
        name: tensor
        for name, tensor in expected.items()
        if name in found or not name.endswith('num_batches_tracked')
    }
    differences = compare_state_dicts(expected, found)
    count = len(expected) - len(differences.missing) - len(differences.resized)
    reason = _misfit(differences, expected, found, all_layers)
    if not count or (reason and not allow_mismatch):
        if not differences.resized and not count:
            reason = (
                f'it has none of the {len(expected)} tensors of the {part}'
                f'{note_unknown_prefix(found)}'
            )
        advice = _conversion_advice(found, expected)
        if not advice and count:
            advice = (
                '; `allow_mismatch`, or allow_mismatch=True in init_cfg, loads the '
                f'{count} that fit'
            )
        raise CheckpointError(f"'{source}' does not fit the {part}: {reason}{advice}.")
    left_out = [
        f'{label}: {_some(names)}'
        for label, names in (
            ('not in the file', differences.missing),
            ('of another shape', differences.resized),
            ('not in the model', differences.unexpected),
        )
        if names
    ]
    print_log(
        f'{count} of {len(expected)} tensors of the {part} are loaded from {source}'
        + ''.join(f'; {text}' for text in left_out)
        + '.',
        logger='current',
        level=logging.WARNING if left_out else logging.INFO,
    )


def _misfit(
    differences: Differences,
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    all_layers: bool,
) -> str:
    """Say what of the differences cannot be meant; nothing if they may be."""
    if resized := differences.resized:
        return f'{len(resized)} of its tensors are of another shape, {resized[0]}'
    if not all_layers:
        return ''
    missing = [name for name in differences.missing if expected[name].ndim > 1]
    if missing:
        return f'it lacks {len(missing)} layers, the first is {missing[0]}'
    # A classifier of other libraries has its head beside the parts of its backbone.
    parts = {name.partition('.')[0] for name in expected}
    surplus = [
        name
        for name in differences.unexpected
        if found[name].ndim > 1 and name.partition('.')[0] in parts
    ]
    if surplus:
        return (
            f'it has {len(surplus)} layers that the model lacks, the first is '
            f'{surplus[0]}'
        )
    return ''


def _some(names: list[str]) -> str:
    more = f' and {len(names) - _NAMES_SHOWN} more' if len(names) > _NAMES_SHOWN else ''
    return ', '.join(names[:_NAMES_SHOWN]) + more


def _conversion_advice(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> str:
    """Return advice on the tool that makes a fitting file of this one, if any."""
    if not any(name.endswith('.positions') for name in expected):
        return ''
    weights = [found[name] for name in found if _DEPTHWISE_WEIGHT.search(name)]
    # A plain convolution has a weight of four axes, one with positions of three.
    if weights and weights[0].ndim == 4:
        return (
            f'; it looks like a plain ConvNeXt, which {_CONVERTER} --from-convnext '
            'converts'
        )
    if any(_OFFICIAL_LAYER.search(name) for name in found):
        return _OFFICIAL_ADVICE
    return ''


def pretrained_configs(module: nn.Module) -> Iterator[dict]:
    """Yield the entries of a module's ``init_cfg`` that load a checkpoint."""
    configs = getattr(module, 'init_cfg', None) or []
    for config in [configs] if isinstance(configs, dict) else configs:
        if config.get('type') in ('Pretrained', PretrainedInit):
            yield config


def check_pretrained(
    module: nn.Module, allow_mismatch: bool = False, all_layers: bool = True
) -> None:
    """Check the files that a module's ``init_cfg`` is going to load into it.

    Args:
        module: Any module of mmengine; without ``type='Pretrained'`` in its
            ``init_cfg`` nothing is done.
        allow_mismatch: Whether to load what fits, as in :func:`check_weights`.
        all_layers: Whether to refuse layers that only one has, as in
            :func:`check_weights`.

    Raises:
        CheckpointError: If :func:`check_weights` raises it.
    """
    for config in pretrained_configs(module):
        source = config['checkpoint']
        content = CheckpointLoader.load_checkpoint(source, 'cpu')
        # The names that mmengine goes by.
        tensors = find_state_dict(content)[1]
        check_tensors(tensors, source)
        found = strip_wrappers(tensors, front=('module',))
        part = f'{type(module).__name__}'
        if prefix := config.get('prefix'):
            found = with_prefix(found, prefix, source)
        check_weights(
            module.state_dict(), found, source, part, allow_mismatch, all_layers
        )


def with_prefix(
    found: Mapping[str, Tensor], prefix: str, source: object
) -> dict[str, Tensor]:
    """Select the tensors whose names begin with a prefix, and take it off.

    Raises:
        CheckpointError: If there is none.
    """
    prefix = prefix.rstrip('.') + '.'
    selected = {
        name.removeprefix(prefix): tensor
        for name, tensor in found.items()
        if name.startswith(prefix)
    }
    if not selected:
        begin = sorted({str(name).split('.')[0] for name in found})
        advice = (
            _OFFICIAL_ADVICE
            if any(_OFFICIAL_LAYER.search(name) for name in found)
            else ''
        )
        raise CheckpointError(
            f"'{source}' has no tensor named '{prefix}*'; its names begin with "
            f'{_some(begin)}{advice}.'
        )
    return selected


class PretrainedGuard(_Module):
    """Mixin of mmengine modules: no ``Pretrained`` file is loaded that does not fit.

    Goes before the upstream class. ``init_cfg=dict(type='Pretrained', …,
    allow_mismatch=True)`` loads what fits.
    """

    allow_mismatch: bool = False
    """Whether to go on with what fits, see :func:`check_weights`."""

    def init_weights(self) -> None:
        """Check the files of ``init_cfg``, then initialise as the parent does.

        Raises:
            CheckpointError: If :func:`check_weights` raises it.
        """
        for config in pretrained_configs(self):
            # mmengine's PretrainedInit does not know this key.
            self.allow_mismatch |= bool(config.pop('allow_mismatch', False))
        check_pretrained(self, self.allow_mismatch)
        super().init_weights()
