import importlib.metadata
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from mmdcls import configs
from mmdcls.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/ade20k/upernet_convnext-tiny_8xb2-amp-160k_ade20k-512x512.py'


@pytest.fixture
def without_the_distribution(monkeypatch):
    """mmsegmentation as OneDL installs it: the module without the distribution."""
    real = importlib.metadata.distribution

    def distribution(name):
        if name == 'mmsegmentation':
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(configs, 'distribution', distribution)
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'no-such-distribution')


def test_configs_are_found_by_the_module(without_the_distribution):
    with pytest.raises(ModuleNotFoundError, match='no-such-distribution'):
        Config.fromfile(CONFIG)
    configs.find_mmseg_by_its_module()
    assert Config.fromfile(CONFIG).model.decode_head.type == 'UPerHead'


def test_what_works_is_left_alone(monkeypatch):
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
    monkeypatch.setattr(configs, 'distribution', lambda name: None)
    configs.find_mmseg_by_its_module()
    assert MODULE2PACKAGE['mmseg'] == 'mmsegmentation'


CONVNEXT = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'


def test_read_config_takes_a_packages_own(tmp_path):
    cfg = configs.read_config(CONVNEXT)
    assert cfg.model.backbone.arch == 'tiny'
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = '{CONVNEXT}'")
    assert configs.read_config(str(path)).model.backbone == cfg.model.backbone


@pytest.mark.parametrize(
    'config',
    ['absent.py', 'mmpretrain::convnext/absent.py', 'numpy::convnext/absent.py'],
)
def test_read_config_names_what_is_missing(config):
    with pytest.raises(ConfigError, match=f"The config '{config}' does not exist"):
        configs.read_config(config)


def test_the_scope_of_a_config(tmp_path):
    assert configs.scope_of(Config(dict(default_scope='mmdet'))) == 'mmdet'
    with pytest.raises(ConfigError, match='The config has default_scope=None; '):
        configs.scope_of(Config())
    path = tmp_path / 'pose.py'
    path.write_text("default_scope = 'mmpose'")
    accepted = "pose.py' has default_scope='mmpose'; accepted are mmpretrain, mmseg, "
    with pytest.raises(ConfigError, match=f"The config '.*{accepted}mmdet"):
        configs.scope_of(Config.fromfile(path))
