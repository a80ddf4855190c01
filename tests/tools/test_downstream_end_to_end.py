"""Every config of ADE20K and COCO trains, saves, evaluates and resumes.

On mini data, in one process, by the functions that tools/train.py and tools/test.py are
made of; only the data's folder, batch and image size differ from the configs, and the
length. Large models make large checkpoints, so each test removes its own.
"""

import gc
import math
import shutil
from pathlib import Path

import pytest
import torch
from mmdet.visualization import DetLocalVisualizer
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer

from mmdcls.apis.data_paths import check_data_paths
from mmdcls.apis.launch import build_runner, enable_tta, load_config
from mmdcls.checkpoints.reading import read_checkpoint
from mmdcls.layers import iter_dcls_layers
from mmdcls.paper.printed_tables import TABLE_3, TABLE_4
from mmdcls.paper.recounted_tables import read_scores
from mmdcls.testing import make_mini

ROOT = Path(__file__).resolve().parents[2]
ADE20K = sorted(ROOT.glob('configs/ade20k/*.py'))
COCO = sorted(ROOT.glob('configs/coco/*.py'))

SIZE = 64
SHORT = {
    # Upstream's ImageNet weights of the plain models would be downloaded.
    'model.backbone.init_cfg': None,
    'default_hooks.logger.interval': 1,
    **{
        f'{split}_dataloader.{key}': value
        for split in ('train', 'val', 'test')
        for key, value in (('num_workers', 0), ('persistent_workers', False))
    },
    'val_dataloader.dataset.indices': 1,
    'test_dataloader.dataset.indices': 1,
}
SEGMENTATION = {
    **SHORT,
    'model.data_preprocessor.size': (SIZE, SIZE),
    'model.test_cfg.crop_size': (SIZE, SIZE),
    'model.test_cfg.stride': (43, 43),
    'train_dataloader.dataset.pipeline.2.scale': (80, SIZE),
    'train_dataloader.dataset.pipeline.3.crop_size': (SIZE, SIZE),
    'val_dataloader.dataset.pipeline.1.scale': (80, SIZE),
    'test_dataloader.dataset.pipeline.1.scale': (80, SIZE),
    'train_dataloader.batch_size': 2,
}
SCALES = [(48, 40), (50, 42)]
DETECTION = {
    **SHORT,
    'train_dataloader.dataset.pipeline.3.transforms.0.0.scales': SCALES,
    'train_dataloader.dataset.pipeline.3.transforms.1.0.scales': SCALES,
    'train_dataloader.dataset.pipeline.3.transforms.1.1.crop_size': (36, 36),
    'train_dataloader.dataset.pipeline.3.transforms.1.2.scales': SCALES,
    'val_dataloader.dataset.pipeline.1.scale': (48, 40),
    'test_dataloader.dataset.pipeline.1.scale': (48, 40),
    'train_dataloader.batch_size': 1,
}


def short(path):
    """A readable test id."""
    name = path.stem.split('_8xb2')[0].split('_fpn')[0]
    return name + ('-640' if '640x640' in path.stem else '')


@pytest.fixture(scope='module')
def mini(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mini')
    make_mini(folder, ['ade20k', 'coco'], train=4, val=2)
    return folder


@pytest.fixture
def work_dir(tmp_path):
    yield tmp_path / 'run'
    shutil.rmtree(tmp_path / 'run', ignore_errors=True)
    forget_visualizers()
    gc.collect()


def forget_visualizers():
    """As in a new process: otherwise the next runner writes where the last one did."""
    for visualizer in (Visualizer, SegLocalVisualizer, DetLocalVisualizer):
        visualizer._instance_dict.clear()


def read(config, data_root, work_dir, options):
    return load_config(
        str(config),
        data_root=str(data_root),
        work_dir=str(work_dir),
        cfg_options=options,
    )


def fresh_runner(cfg, partial_checkpoint):
    forget_visualizers()
    return build_runner(cfg, partial_checkpoint)


def train(cfg, resume=False):
    check_data_paths(cfg, ('train', 'val'))
    cfg.resume = resume
    if resume:
        # Writing AdamW's state takes longer than an iteration: once is enough.
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.update(interval=1000, save_last=False)
    runner = fresh_runner(cfg, partial_checkpoint=not resume)
    runner.train()
    for name, param in runner.model.named_parameters():
        assert torch.isfinite(param).all(), name
    for layer in iter_dcls_layers(runner.model):
        assert layer.positions.abs().max() <= 8
    return runner.iter


def evaluate(cfg, checkpoint):
    cfg.load_from = str(checkpoint)
    runner = fresh_runner(cfg, partial_checkpoint=False)
    scores = runner.test()
    model = getattr(runner.model, 'module', runner.model)  # Under augmentation.
    saved = read_checkpoint(checkpoint)['state_dict']
    assert model.state_dict().keys() == saved.keys()
    for name, tensor in model.state_dict().items():
        assert tensor.equal(saved[name]), name
    return scores


def test_every_config_is_here():
    assert (len(ADE20K), len(COCO)) == (9, 9)


@pytest.mark.slow
@pytest.mark.parametrize('config', ADE20K, ids=short)
def test_ade20k(config, mini, work_dir):
    def configured(iterations):
        length = {
            'train_cfg.max_iters': iterations,
            'train_cfg.val_interval': iterations,
            'default_hooks.checkpoint.interval': iterations,
        }
        data = mini / 'ADEChallengeData2016'
        return read(config, data, work_dir, {**SEGMENTATION, **length})

    assert train(configured(2)) == 2
    assert train(configured(3), resume=True) == 3
    scores = evaluate(configured(3), work_dir / 'iter_2.pth')
    assert read_scores(work_dir, TABLE_3.metrics) == {'mIoU': scores['mIoU']}
    if 'dcls' not in config.stem:
        return
    cfg = configured(3)
    # Images of 0.5 to 1.75 times 80x64, each in one window.
    cfg.model.test_cfg.crop_size = (144, 144)
    enable_tta(cfg)
    pipeline = cfg.test_dataloader.dataset.pipeline
    assert len(pipeline[1].transforms[0]) == 6
    pipeline.insert(1, dict(type='Resize', scale=(80, 64), keep_ratio=True))
    augmented = evaluate(cfg, work_dir / 'iter_2.pth')
    assert augmented.keys() == scores.keys() and math.isfinite(augmented['mIoU'])
    # paper_tables.py still finds the single-scale scores.
    assert read_scores(work_dir, TABLE_3.metrics) == {'mIoU': scores['mIoU']}


@pytest.mark.slow
@pytest.mark.parametrize('config', COCO, ids=short)
def test_coco(config, mini, work_dir):
    def configured(epochs, images):
        length = {
            'train_cfg.max_epochs': epochs,
            'train_dataloader.dataset.indices': images,
        }
        return read(config, mini / 'coco', work_dir, {**DETECTION, **length})

    assert train(configured(epochs=1, images=2)) == 2
    assert train(configured(epochs=2, images=1), resume=True) == 3
    cfg = configured(epochs=2, images=1)
    # An untrained detector is below the threshold in everything.
    cfg.model.test_cfg.rcnn.score_thr = 0.0
    scores = evaluate(cfg, work_dir / 'epoch_1.pth')
    expected = {k: 100 * scores[name] for k, (name, _) in TABLE_4.metrics.items()}
    assert read_scores(work_dir, TABLE_4.metrics) == pytest.approx(expected)
