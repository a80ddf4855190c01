import pytest
import torch
from helpers.official_configs import mini_config
from helpers.trained_models import (
    MINI_CONFIGS,
    assert_equal_outputs,
    build,
    mini_model,
    save,
)
from mmengine.config import Config

from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.converters import write_checkpoint
from mmdcls.deployment import fold as module
from mmdcls.deployment.fold import fold
from mmdcls.errors import ConfigError
from mmdcls.layers import DCLSConvNd, iter_dcls_layers

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


def configs():
    yield 'classifier', mini_config('cls')
    yield 'conv_cfg', Config(dict(default_scope='mmseg', model=CONVMODULE))
    for name, path in MINI_CONFIGS.items():
        yield name, Config.fromfile(path)


def write(cfg, tmp_path):
    """A config file and a checkpoint that fits it, and the model."""
    cfg.dump(tmp_path / 'config.py')
    model = build(Config.fromfile(tmp_path / 'config.py'))
    meta = {'dataset_meta': {'classes': ('a', 'b')}}
    trained = save(model, tmp_path / 'trained.pth', **meta, epoch=3)
    return tmp_path / 'config.py', trained, model


@pytest.mark.parametrize('cfg', [pytest.param(cfg, id=name) for name, cfg in configs()])
def test_loads_with_deploy_and_gives_equal_outputs(cfg, tmp_path, monkeypatch):
    config, trained, model = write(cfg, tmp_path)
    result = fold(config, trained)
    assert result.difference <= 1e-5
    result.check()
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
        assert_equal_outputs(outputs(deployed, images), expected)


def outputs(model, images):
    """Logits, or a detector's feature maps and proposals' scores and boxes."""
    if not hasattr(model, 'rpn_head'):
        return model(images)
    levels = model.extract_feat(images)
    return levels, model.rpn_head(levels)


def test_nothing_of_mmdcls_is_left_in_a_resnet(tmp_path):
    config, trained, _ = mini_model('resnet', tmp_path)
    result = fold(config, trained)
    assert (result.layers, result.norms) == (16, 20)
    names = [name for name in result.content['state_dict'] if 'bn' in name]
    assert not names
    kinds = {
        tuple(tensor.shape[2:])
        for name, tensor in result.content['state_dict'].items()
        if name.startswith('backbone.layer') and name.endswith('weight')
    }
    assert kinds == {(7, 7), (1, 1)}


def test_folding_changes_nothing_else(tmp_path):
    config, trained, model = write(mini_config('cls'), tmp_path)
    folded = fold(config, trained).content['state_dict']
    for name, tensor in model.state_dict().items():
        if '.depthwise_conv.' not in name:
            assert torch.equal(folded[name], tensor), name


def test_positions_beyond_the_kernel_are_folded_as_they_are(tmp_path):
    config, _, model = write(mini_config('cls'), tmp_path)
    positions = [layer.positions for layer in iter_dcls_layers(model)]
    with torch.no_grad():
        for tensor in positions:
            tensor.normal_(0, 6)
    assert max(tensor.abs().max() for tensor in positions) > 9
    trained = save(model, tmp_path / 'beyond.pth')
    result = fold(config, trained)
    result.check()
    cfg = Config.fromfile(config)
    cfg.model.backbone.deploy = True
    deployed = build(cfg, seed=1)
    deployed.load_state_dict(result.content['state_dict'])
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert_equal_outputs(deployed(images), model(images))


def test_reads_the_names_of_a_compiled_model(tmp_path):
    config, _, model = write(mini_config('cls'), tmp_path)
    state_dict = {
        f'_orig_mod.{name}': tensor for name, tensor in model.state_dict().items()
    }
    torch.save({'state_dict': state_dict}, tmp_path / 'compiled.pth')
    folded = fold(config, tmp_path / 'compiled.pth').content['state_dict']
    assert torch.equal(folded['head.fc.bias'], state_dict['_orig_mod.head.fc.bias'])


def test_what_cannot_be_folded_is_refused(tmp_path):
    config, trained, _ = write(mini_config('cls'), tmp_path)
    result = fold(config, trained)
    write_checkpoint(result.content, tmp_path / 'folded.pth')
    with pytest.raises(CheckpointError, match='does not fit the model of'):
        fold(config, tmp_path / 'folded.pth')
    with pytest.raises(ConfigError, match='does not exist'):
        fold(tmp_path / 'absent.py', trained)
    (tmp_path / 'empty.py').write_text("default_scope = 'mmpretrain'")
    with pytest.raises(ConfigError, match=r"empty\.py' has no model"):
        fold(tmp_path / 'empty.py', trained)
    cfg = Config.fromfile(config)
    cfg.model.backbone.deploy = True
    cfg.dump(tmp_path / 'deployed.py')
    with pytest.raises(CheckpointError, match='no DCLS layer to fold'):
        fold(tmp_path / 'deployed.py', tmp_path / 'folded.pth')


def test_folding_that_changes_the_features_is_refused(tmp_path, monkeypatch):
    def spoil(model):
        switch_to_deploy(model)
        next(model.backbone.parameters()).data *= 1.001

    config, trained, _ = write(mini_config('cls'), tmp_path)
    switch_to_deploy = module.switch_to_deploy
    monkeypatch.setattr(module, 'switch_to_deploy', spoil)
    result = fold(config, trained)
    with pytest.raises(CheckpointError, match=r"trained\.pth' changes its features"):
        result.check()
