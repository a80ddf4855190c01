"""tools/check_dataset.py on the mini data."""

import shutil

import pytest
from helpers.tool_runs import assert_refuses, assert_runs, run_tool

from mmdcls.testing import make_mini

ADE20K = 'configs/ade20k/upernet_convnext-dcls-tiny_8xb2-amp-160k_ade20k-512x512.py'
COCO = 'configs/coco/mask-rcnn_convnext-dcls-tiny_fpn_amp-ms-crop-3x_coco.py'


@pytest.fixture(scope='module')
def mini(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mini')
    make_mini(folder, ['ade20k', 'coco'], train=3, val=2)
    return folder


def test_sound_ade20k(mini):
    root = mini / 'ADEChallengeData2016'
    output = assert_runs('check_dataset.py', ADE20K, '--data-root', root)
    assert 'train_dataloader.dataset: ADE20KDataset in' in output
    assert '3 images, 3 label maps (the published data set has 20210 images)' in output
    assert '2 images, 2 label maps (the published data set has 2000 images)' in output
    # Validation and test are the same data.
    assert 'test_dataloader' not in output
    assert 'no problem.' in output


def test_damaged_coco(mini, tmp_path):
    root = shutil.copytree(mini / 'coco', tmp_path / 'coco')
    train = sorted((root / 'train2017').glob('*.jpg'))
    train[0].unlink()
    train[1].write_bytes(train[1].read_bytes()[:100])
    process = run_tool(
        *('check_dataset.py', COCO, '--data-root', root),
        *('--out', tmp_path / 'problems.txt'),
    )
    assert process.returncode == 1, process.stderr[-3000:]
    assert process.stdout.splitlines()[-1] == '2 problems.'
    problems = (tmp_path / 'problems.txt').read_text().splitlines()
    assert problems[0].startswith(f'{train[0]}: does not exist')
    assert problems[1].startswith(f'{train[1]}: cannot be read')
    assert all(f'  {problem}' in process.stdout for problem in problems)


def test_one_split_of_absent_data(tmp_path):
    process = run_tool(
        *('check_dataset.py', ADE20K, '--data-root', tmp_path, '--splits', 'val')
    )
    assert process.returncode == 1
    assert 'is no folder' in process.stdout
    assert 'train_dataloader' not in process.stdout


def test_unknown_config():
    assert_refuses("'absent.py' does not exist", 'check_dataset.py', 'absent.py')
