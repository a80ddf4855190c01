"""The headline recipe of the README, with a stand-in for the released file."""

import re
import shlex

import pytest
import torch
from helpers.official_models import make
from helpers.tool_runs import ROOT, assert_runs

from mmdcls.testing import make_mini

# Two iterations on small images.
SHORT = [
    'train_cfg.max_iters=2',
    'train_cfg.val_interval=2',
    'default_hooks.checkpoint.interval=2',
    'train_dataloader.dataset.pipeline.2.scale=(80,64)',
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    'model.data_preprocessor.size=(64,64)',
]
SMALL = [
    'model.test_cfg.crop_size=(64,64)',
    'model.test_cfg.stride=(43,43)',
    'val_dataloader.dataset.pipeline.1.scale=(80,64)',
    'test_dataloader.dataset.pipeline.1.scale=(80,64)',
]


def recipe():
    """The three commands that reproduce a row, each as its words."""
    _, _, text = (ROOT / 'README.md').read_text().partition('**Reproduce the paper**')
    block = re.search(r'```shell\n(.*?)```', text, re.DOTALL)[1]
    return [shlex.split(line)[1:] for line in block.splitlines()]


@pytest.mark.slow
def test_a_released_classifier_becomes_a_segmentor(tmp_path):
    convert, train, test = recipe()
    torch.manual_seed(0)
    released = tmp_path / convert[1].rpartition('/')[2]
    model = make('cls', size='tiny')
    # As the authors' training for classification leaves them.
    for name, positions in model.named_parameters():
        if name.endswith('.P'):
            positions.data.clamp_(-8, 8)
    torch.save({'model': model.state_dict()}, released)
    make_mini(tmp_path, ['ade20k'], train=4, val=2)
    data = ['--data-root', tmp_path / 'ADEChallengeData2016']
    work_dir = ['--work-dir', tmp_path / 'run']
    converted = tmp_path / convert[2]

    tool, _, _ = convert
    assert_runs(tool.removeprefix('tools/'), released, converted)
    tool, config, option, checkpoint = train
    assert (option, checkpoint) == ('--pretrained', convert[2])
    output = assert_runs(
        *(tool.removeprefix('tools/'), config, option, converted, *work_dir, *data),
        *('--cfg-options', *SHORT, *SMALL),
    )
    assert 'RANDOM' not in output and 'Iter(train) [2/2]' in output
    tool, tested, checkpoint = test
    assert tested == config and checkpoint.endswith('/iter_160000.pth')
    output = assert_runs(
        *(tool.removeprefix('tools/'), config, tmp_path / 'run/iter_2.pth'),
        *(*work_dir, *data, '--cfg-options', *SMALL),
    )
    assert 'mIoU' in output
