import runpy
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from official_configs import ROOT, mini_config
from tolerances import assert_close

from mmdcls.converters import write_checkpoint
from mmdcls.converters.reparameterize import reparameterize
from mmdcls.engine.checkpoint import CheckpointError
from mmdcls.layers import DCLSConvNd

RESNET = dict(
    type='ImageClassifier',
    backbone=dict(type='mmdcls.ResNetDCLS', depth=18, base_channels=4, stem_channels=4),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=32),
)
CONVMODULE = dict(
    type='mmseg.EncoderDecoder',
    backbone=dict(
        type='mmseg.ResNet',
        depth=18,
        base_channels=4,
        stem_channels=4,
        conv_cfg=dict(type='mmdcls.DCLSConv2d', kernel_count=3, dilated_kernel_size=7),
    ),
    decode_head=dict(
        type='mmseg.FCNHead', in_channels=32, channels=4, num_classes=3, in_index=3
    ),
    test_cfg=dict(mode='whole'),
)
MINI = 'configs/mini'


def configs():
    yield 'classifier', mini_config('cls')
    resnet = Config(dict(default_scope='mmpretrain', model=RESNET))
    yield 'resnet', resnet
    yield 'conv_cfg', Config(dict(default_scope='mmseg', model=CONVMODULE))
    for path in sorted((ROOT / MINI).glob('*convnext-dcls*.py')):
        yield path.stem.split('_')[0], Config.fromfile(path)


def build(cfg, seed):
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model).eval()


def write(cfg, tmp_path):
    """A config file and a checkpoint of random weights that fits it."""
    cfg.dump(tmp_path / 'config.py')
    model = build(Config.fromfile(tmp_path / 'config.py'), seed=0)
    content = {
        'state_dict': model.state_dict(),
        'meta': {'dataset_meta': {'classes': ('a', 'b')}},
    }
    torch.save(content, tmp_path / 'trained.pth')
    return tmp_path / 'config.py', tmp_path / 'trained.pth', model


@pytest.mark.parametrize('cfg', [pytest.param(cfg, id=name) for name, cfg in configs()])
def test_loads_with_deploy_and_gives_equal_outputs(cfg, tmp_path, monkeypatch):
    config, trained, model = write(cfg, tmp_path)
    result = reparameterize(config, trained)
    assert result.difference <= 1e-5
    write_checkpoint(result.content, tmp_path / 'folded.pth')

    deployed_cfg = Config.fromfile(config)
    options = [option.removesuffix('=True') for option in result.options]
    deployed_cfg.merge_from_dict(dict.fromkeys(options, True))
    deployed = build(deployed_cfg, seed=1)
    folded = torch.load(tmp_path / 'folded.pth')
    deployed.load_state_dict(folded['state_dict'], strict=True)
    assert folded['meta'] == {'dataset_meta': {'classes': ('a', 'b')}}
    assert not any('positions' in name for name in folded['state_dict'])

    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = outputs(model, images)
        monkeypatch.setattr(DCLSConvNd, '_construct', None)
        actual = outputs(deployed, images)
    for a, b in zip(flatten(actual), flatten(expected), strict=True):
        assert_close(a, b, 'output')


def outputs(model, images):
    """Logits, or a detector's feature maps and proposals' scores and boxes."""
    if not hasattr(model, 'rpn_head'):
        return model(images)
    levels = model.extract_feat(images)
    return levels, model.rpn_head(levels)


def flatten(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in flatten(output)]


def test_folding_changes_nothing_else(tmp_path):
    config, trained, model = write(mini_config('cls'), tmp_path)
    folded = reparameterize(config, trained).content['state_dict']
    for name, tensor in model.state_dict().items():
        if '.depthwise_conv.' not in name:
            assert torch.equal(folded[name], tensor), name


def test_what_cannot_be_folded_is_refused(tmp_path):
    config, trained, _ = write(mini_config('cls'), tmp_path)
    result = reparameterize(config, trained)
    write_checkpoint(result.content, tmp_path / 'folded.pth')
    with pytest.raises(CheckpointError, match='does not fit the model of'):
        reparameterize(config, tmp_path / 'folded.pth')
    with pytest.raises(CheckpointError, match='does not exist'):
        reparameterize(tmp_path / 'absent.py', trained)
    cfg = Config.fromfile(config)
    cfg.model.backbone.deploy = True
    cfg.dump(tmp_path / 'deployed.py')
    with pytest.raises(CheckpointError, match='no DCLS layer to fold'):
        reparameterize(tmp_path / 'deployed.py', tmp_path / 'folded.pth')


def test_tool_says_how_to_use_the_result(tmp_path, monkeypatch, capsys):
    config, trained, _ = write(mini_config('cls'), tmp_path)
    target = tmp_path / 'folded.pth'
    monkeypatch.setattr(sys, 'argv', ['x', *map(str, (config, trained, target))])
    script = ROOT / 'tools/model_converters/reparameterize.py'
    runpy.run_path(str(script), run_name='__main__')
    printed = capsys.readouterr().out
    assert '6 layers folded' in printed
    assert '--cfg-options model.backbone.deploy=True' in printed
    assert target.is_file()
