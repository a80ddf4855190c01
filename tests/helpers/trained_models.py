"""Configs and checkpoints that look trained: batch norms have seen some data."""

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch.nn.modules.batchnorm import _BatchNorm

from helpers.tool_runs import ROOT

MINI_CONFIGS = {
    name: ROOT / 'configs/mini' / file
    for name, file in {
        'convnext': 'convnext-dcls-atto_1xb32-mini_in1k-64px.py',
        'resnet': 'resnet18-dcls_1xb32-mini_in1k-64px.py',
        'upernet': 'upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py',
        'cascade': 'cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py',
    }.items()
}


def build(cfg, seed=0):
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).eval()
    set_batch_norms(model)
    return model


@torch.no_grad()
def set_batch_norms(model):
    """Give batch norms statistics and weights that change what they normalise."""
    for norm in model.modules():
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None:
            norm.running_mean.normal_(std=0.3)
            norm.running_var.uniform_(0.5, 2)
            if norm.affine:
                norm.weight.uniform_(0.5, 2)
                norm.bias.normal_(std=0.3)


def save(model, path, **meta):
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return path


def mini_model(name, folder):
    """One of the mini configs, a checkpoint that fits it, and its model."""
    model = build(Config.fromfile(MINI_CONFIGS[name]))
    return MINI_CONFIGS[name], save(model, folder / f'{name}.pth'), model


def assert_equal_outputs(actual, expected, tolerance=1e-5):
    """Outputs, however nested, differ by no more of the largest."""
    actual, expected = list(flatten(actual)), list(flatten(expected))
    assert len(actual) == len(expected) > 0
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def flatten(outputs):
    if isinstance(outputs, torch.Tensor):
        yield outputs
    else:
        for output in outputs:
            yield from flatten(output)
