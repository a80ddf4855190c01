"""A small classifier and mini robustness sets, and runs of tools/robustness.py."""

import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

SIZE = 32
CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ConvNeXt', arch=dict(depths=[1] * 4, channels=[8, 16, 24, 32])),
    head=dict(type='LinearClsHead', num_classes={outputs}, in_channels=32))
data_preprocessor = dict(
    num_classes={outputs}, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
    to_rgb=True)
test_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(
    type='ImageNet', data_root='data', split='val', pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=37, edge='short', backend='pillow',
             interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=32),
        dict(type='PackInputs')]))
test_cfg = dict()
env_cfg = dict(dist_cfg=dict(backend='nccl'))
test_evaluator = dict(type='Accuracy', topk=(1, 5))
"""

# A few cells of every kind, for tests that are not about the numbers.
FEW = dict(
    corruptions=['fog', 'contrast', 'sparkles'],
    severities=[2, 5],
    allow_missing=False,
)
FILES = ('robustness.json', 'robustness.md', 'robustness.png')


def write_model(folder, outputs=10, seed=0):
    """Write ``config.py`` and ``model.pth`` of a classifier with random weights."""
    from mmpretrain.registry import MODELS

    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.py').write_text(CONFIG.format(outputs=outputs))
    init_default_scope('mmpretrain')
    model = MODELS.build(Config.fromfile(folder / 'config.py').model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    torch.save({'state_dict': model.state_dict()}, folder / 'model.pth')
    return folder / 'config.py', folder / 'model.pth'


def evaluate(model, data_root, out, **options):
    """Run in this process as the tool does, and return the report's path."""
    from mmdcls.apis.launch import load_config
    from mmdcls.robustness.run import Settings, run

    def take(**defaults):
        return {name: options.pop(name, value) for name, value in defaults.items()}

    config, checkpoint = map(str, model)
    cfg = load_config(config, **take(work_dir=str(out / 'work_dir'), cfg_options=None))
    places = take(out=str(out), name='small', compare=[])
    data_root = data_root and str(data_root)
    return run(cfg, checkpoint, Settings(**options), data_root=data_root, **places)


def evaluate_in_child(model, data_root, out, options):
    """Run in a forked process, with one thread as a data loader's worker has."""
    torch.set_num_threads(1)
    evaluate(model, data_root, out, **options)


def read(path):
    return json.loads(Path(path).read_text())


def times(out):
    return {p: p.stat().st_mtime_ns for p in sorted((out / 'cells').rglob('*.json'))}
