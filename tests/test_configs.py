import importlib.metadata
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from mmdcls import configs

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
