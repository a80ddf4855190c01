"""The page that compares our training with the authors' gives options that work."""

import argparse
import re
import shlex

import pytest
from helpers.tool_runs import ROOT
from mmengine.config import Config, DictAction

import mmdcls.engine  # noqa: F401, finds mmseg's configs

PAGE = (ROOT / 'docs/authors_training.md').read_text()
COMMANDS = {
    config.split('/')[1]: (config, options)
    for config, options in re.findall(
        r'python tools/train\.py (\S+) --cfg-options (.*?)```', PAGE, flags=re.DOTALL
    )
}
# What each option must have changed, from our value to theirs.
CHANGES = {
    'imagenet': {
        'custom_hooks.1.priority': (None, 'NORMAL'),
        'param_scheduler.1.convert_to_iter_based': (None, True),
        'param_scheduler.0.start_factor': (1e-3, 1e-9),
    },
    'ade20k': {
        'optim_wrapper.paramwise_cfg.positions_lr_mult': (None, 1.0),
        'custom_hooks': ([{'type': 'mmdcls.ClampPositionsHook'}], []),
        'param_scheduler.1.begin': (1500, 0),
    },
    'coco': {
        'optim_wrapper.paramwise_cfg.positions_lr_mult': (None, 1.0),
        'custom_hooks': ([{'type': 'mmdcls.ClampPositionsHook'}], []),
        'param_scheduler.0.end': (1000, 500),
    },
}


def value(cfg, key):
    for part in key.split('.'):
        cfg = cfg[int(part)] if part.isdecimal() else cfg.get(part)
    return cfg


@pytest.mark.parametrize('folder', CHANGES)
def test_options_give_the_authors_values(folder):
    config, text = COMMANDS[folder]
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    words = shlex.split(text.replace('\\\n', ' '))
    options = parser.parse_args(['--cfg-options', *words]).cfg_options
    assert set(options) == set(CHANGES[folder])
    cfg = Config.fromfile(ROOT / config)
    for key, (ours, _) in CHANGES[folder].items():
        assert value(cfg, key) == ours, key
    cfg.merge_from_dict(options)
    for key, (_, theirs) in CHANGES[folder].items():
        assert value(cfg, key) == theirs, key


def test_the_average_is_taken_before_clamping_as_theirs():
    from mmengine.runner import get_priority

    config, _ = COMMANDS['imagenet']
    hooks = Config.fromfile(ROOT / config).custom_hooks
    assert hooks[1].type == 'mmdcls.ClampPositionsHook'
    ema = get_priority(hooks[0].priority)
    assert get_priority('HIGH') < ema < get_priority('NORMAL')
