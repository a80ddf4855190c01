"""tools/train.py and tools/test.py, end to end on the mini data."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from helpers.tool_runs import ROOT, assert_refuses, assert_runs, run_tool
from PIL import Image

from mmdcls.testing import make_mini

SEGMENTATION = 'configs/mini/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py'
DETECTION = 'configs/mini/cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py'
SPLITS = ('train', 'val', 'test')


@pytest.fixture(scope='session')
def mini(tmp_path_factory):
    """Eight training and three validation images of each data set."""
    folder = tmp_path_factory.mktemp('mini')
    make_mini(folder, ['ade20k', 'coco'], train=8, val=3)
    return folder


@pytest.fixture(scope='session')
def segmenter(mini, tmp_path_factory):
    """A mini segmentation model after three iterations, and its folder."""
    work_dir = tmp_path_factory.mktemp('segmenter')
    options = ['train_cfg.max_iters=3', 'train_cfg.val_interval=3']
    assert_runs(
        *('train.py', SEGMENTATION, '--work-dir', work_dir),
        *('--data-root', mini / 'ADEChallengeData2016', '--cfg-options', *options),
    )
    return work_dir


def scores(work_dir):
    return json.loads(max(Path(work_dir).glob('*/*.json')).read_text())


def mean_iou(annotations, labels_dir):
    """The mean over the classes that are there, from label maps of two folders."""
    overlaps, unions = np.zeros(151), np.zeros(151)
    paths = sorted(annotations.glob('*.png'))
    assert len(paths) == 3
    for path in paths:
        # In both, 0 is no class; what is not annotated does not count.
        truth, labels = (
            np.asarray(Image.open(p)) for p in (path, labels_dir / path.name)
        )
        labels = np.where(truth == 0, 0, labels)
        for label in range(1, 151):
            overlaps[label] += ((truth == label) & (labels == label)).sum()
            unions[label] += ((truth == label) | (labels == label)).sum()
    there = unions > 0
    return 100 * (overlaps[there] / unions[there]).mean()


@pytest.mark.slow
def test_segmentation_writes_labels_pictures_and_scores(mini, segmenter, tmp_path):
    assert_runs(
        *('test.py', SEGMENTATION, segmenter / 'iter_3.pth', '--work-dir', tmp_path),
        *('--data-root', mini / 'ADEChallengeData2016'),
        *('--out', tmp_path / 'labels', '--show-dir', tmp_path / 'pictures'),
    )
    annotations = mini / 'ADEChallengeData2016/annotations/validation'
    expected = mean_iou(annotations, tmp_path / 'labels')
    assert scores(tmp_path)['mIoU'] == pytest.approx(expected, abs=0.1)
    assert len(list((tmp_path / 'pictures').rglob('*.png'))) == 3


@pytest.mark.slow
def test_segmentation_tta_and_pickle(mini, segmenter, tmp_path):
    assert_runs(
        *('test.py', SEGMENTATION, segmenter / 'iter_3.pth', '--work-dir', tmp_path),
        *('--data-root', mini / 'ADEChallengeData2016'),
        *('--out', tmp_path / 'predictions.pkl', '--tta'),
    )
    predictions = pickle.loads((tmp_path / 'predictions.pkl').read_bytes())
    assert len(predictions) == 3
    for prediction in predictions:
        height, width = prediction['ori_shape']
        assert prediction['pred_sem_seg']['data'].shape == (1, height, width)


@pytest.mark.slow
def test_detection_trains_and_tests(mini, tmp_path):
    coco = ('--data-root', mini / 'coco', '--work-dir', tmp_path)
    short = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    assert_runs('train.py', DETECTION, *coco, '--cfg-options', *short)
    assert_runs(
        *('test.py', DETECTION, tmp_path / 'epoch_1.pth', *coco),
        *('--out', tmp_path / 'p.pkl', '--show-dir', tmp_path / 'pictures'),
        # A model this young is sure of nothing, and mmdet scores no empty prediction.
        *('--cfg-options', 'model.test_cfg.rcnn.score_thr=0.0'),
    )
    assert 'coco/segm_mAP_50' in scores(tmp_path)
    assert (tmp_path / 'p.pkl').exists()
    assert len(list((tmp_path / 'pictures').glob('*.jpg'))) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    'command',
    [
        [Path(mmseg.__file__).parent / '.mim' / 'tools' / 'train.py'],
        # What `mim train mmdcls CONFIG` runs on a machine without a GPU.
        ['mmdcls/.mim/tools/train.py', '--launcher', 'none', '--device', 'cpu'],
    ],
    ids=['mmseg', 'mim'],
)
def test_other_tools_train_the_mini_config(mini, command, tmp_path):
    data_root = mini / 'ADEChallengeData2016'
    options = [f'{split}_dataloader.dataset.data_root={data_root}' for split in SPLITS]
    process = subprocess.run(
        [sys.executable, *command, SEGMENTATION, '--work-dir', tmp_path]
        + ['--cfg-options', *options, 'train_cfg.max_iters=2'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert (tmp_path / 'iter_2.pth').exists()


@pytest.mark.slow
def test_killed_training_goes_on_from_its_last_checkpoint(mini, tmp_path):
    command = [
        *(sys.executable, 'tools/train.py', SEGMENTATION, '--work-dir', str(tmp_path)),
        *('--data-root', str(mini / 'ADEChallengeData2016'), '--resume', 'auto'),
        *('--no-validate', '--cfg-options', 'train_cfg.max_iters=6'),
        *('default_hooks.checkpoint.interval=2', 'default_hooks.logger.interval=1'),
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    last = tmp_path / 'last_checkpoint'
    while process.poll() is None and not last.exists():
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed_at = Path(last.read_text()).stem
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]
    output = finished.stdout + finished.stderr
    assert f'{killed_at}.pth' in output
    assert 'Iter(train) [1/6]' not in output
    assert 'Iter(train) [6/6]' in output
    assert Path(last.read_text()).stem == 'iter_6'


def test_tta_of_instance_segmentation(mini, tmp_path):
    assert_refuses(
        *('--tta: mmdet has no test-time augmentation', 'test.py', DETECTION, 'a.pth'),
        *('--tta', '--data-root', mini / 'coco', '--work-dir', tmp_path),
    )


def test_a_refusal_is_one_line_and_exit_code_1():
    process = run_tool('train.py', 'absent.py')
    assert process.returncode == 1
    assert process.stderr == "error: The config 'absent.py' does not exist.\n"


def test_unknown_config():
    assert_refuses("'absent.py' does not exist", 'test.py', 'absent.py', 'a.pth')


@pytest.mark.parametrize('config', [SEGMENTATION, DETECTION], ids=['ade20k', 'coco'])
def test_missing_data_folder(config, tmp_path):
    message = f"--data-root: the folder '{tmp_path / 'absent'}' does not exist"
    assert_refuses(
        *(message, 'train.py', config, '--data-root', tmp_path / 'absent'),
        *('--work-dir', tmp_path / 'work'),
    )
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize(
    'option, message',
    [
        ('model.backbone.dilated_kernel_size=0', 'dilated_kernel_size=0'),
        ('model.backbone.dilated_kernel_size=16', 'dilated_kernel_size=16 must be odd'),
        ('model.backbone.kernel_count=0', 'kernel_count=0'),
        ('model.backbone.arch=minute', "arch='minute'"),
        ('optim_wrapper.paramwise_cfg.decay_type=deep', "decay_type='deep'"),
    ],
)
def test_bad_settings(mini, option, message, tmp_path):
    assert_refuses(
        *(message, 'train.py', SEGMENTATION, '--work-dir', tmp_path),
        *('--data-root', mini / 'ADEChallengeData2016', '--cfg-options', option),
    )
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.slow
def test_checkpoint_of_another_architecture(mini, segmenter, tmp_path):
    arguments = ('--data-root', mini / 'ADEChallengeData2016', '--work-dir', tmp_path)
    checkpoint = segmenter / 'iter_3.pth'
    other = ('--cfg-options', 'model.backbone.kernel_count=30')
    message = "iter_3.pth' does not fit the config's model"
    assert_refuses(message, 'test.py', SEGMENTATION, checkpoint, *arguments, *other)
    resume = ('--resume', checkpoint)
    assert_refuses(message, 'train.py', SEGMENTATION, *resume, *arguments, *other)
    assert not list(tmp_path.glob('*.pth'))


class Hostile:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize('how', ['test', 'resume', 'load_from', 'pretrained'])
def test_hostile_checkpoint_is_refused_and_not_run(mini, how, tmp_path):
    trace, checkpoint = tmp_path / 'trace', tmp_path / 'hostile.pth'
    torch.save({'state_dict': {}, 'meta': Hostile(trace)}, checkpoint)
    how = {
        'test': ('test.py', SEGMENTATION, checkpoint),
        'resume': ('train.py', SEGMENTATION, '--resume', checkpoint),
        'load_from': (
            'train.py',
            SEGMENTATION,
            '--cfg-options',
            f'load_from={checkpoint}',
        ),
        'pretrained': ('train.py', SEGMENTATION, '--pretrained', checkpoint),
    }[how]
    assert_refuses(
        *('nothing in it was run', *how, '--work-dir', tmp_path / 'work'),
        *('--data-root', mini / 'ADEChallengeData2016'),
    )
    assert not trace.exists()
