"""tools/check_dataset.py on the mini data."""

import json
import runpy
import shutil
import sys

import pytest
from helpers.tool_runs import ROOT, assert_refuses, assert_runs, run_tool

from mmdcls.apis.data_checks import check_data_against_model
from mmdcls.apis.launch import load_config
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


def test_every_annotation_file_is_read_once(mini, monkeypatch):
    """By the data sets' own checks, the classes' comparison and the metrics' needs."""
    names = ('train', 'val')
    files = [mini / f'coco/annotations/instances_{name}2017.json' for name in names]
    names_of = {path.read_text(): path.name for path in files}
    read = []
    loads = json.loads

    def counting_loads(text, *args, **kwargs):
        read.append(names_of.get(text))
        return loads(text, *args, **kwargs)

    monkeypatch.setattr(json, 'loads', counting_loads)
    monkeypatch.chdir(ROOT)
    arguments = [COCO, '--data-root', str(mini / 'coco')]
    monkeypatch.setattr(sys, 'argv', ['check_dataset.py', *arguments])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path('tools/check_dataset.py', run_name='__main__')
    assert exit_info.value.code == 0
    assert [name for name in read if name] == [path.name for path in files]
    read.clear()
    check_data_against_model(load_config(COCO, data_root=arguments[2]), names)
    assert [name for name in read if name] == [path.name for path in files]
