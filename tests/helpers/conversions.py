"""Convert the models of ``official_models`` and load the result into ours."""

import torch
from mmengine.registry import MODELS, DefaultScope

from helpers.official_configs import mini_config
from mmdcls.checkpoints.reading import read_checkpoint
from mmdcls.converters import official_to_mmdcls, write_checkpoint

TOLERANCE = dict(rtol=1e-5, atol=1e-5)


def save(content, tmp_path):
    torch.save(content, tmp_path / 'official.pth')
    return tmp_path / 'official.pth'


def convert(content, tmp_path, clamp=True, **kwargs):
    """Clamps unless told otherwise, as the layer of the first period does."""
    conversion = official_to_mmdcls(save(content, tmp_path), clamp=clamp, **kwargs)
    conversion.check()
    return conversion


def build(cfg):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model).eval()


def load_ours(conversion, task, tmp_path):
    """Write the converted file, read it back and load it strictly, in float64."""
    write_checkpoint(conversion.content, tmp_path / 'ours.pth')
    model = build(mini_config(task))
    state_dict = read_checkpoint(tmp_path / 'ours.pth')['state_dict']
    model.load_state_dict(state_dict, strict=True)
    return model.double()


def images():
    torch.manual_seed(0)
    return torch.randn(2, 3, 72, 96, dtype=torch.float64)
