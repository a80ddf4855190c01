import pytest

from mmdcls.configs import read_config
from mmdcls.errors import ConfigError

CONVNEXT = 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py'


def test_read_config_takes_a_packages_own(tmp_path):
    cfg = read_config(CONVNEXT)
    assert cfg.model.backbone.arch == 'tiny'
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = '{CONVNEXT}'")
    assert read_config(str(path)).model.backbone == cfg.model.backbone


@pytest.mark.parametrize(
    'config',
    ['absent.py', 'mmpretrain::convnext/absent.py', 'numpy::convnext/absent.py'],
)
def test_read_config_names_what_is_missing(config):
    with pytest.raises(ConfigError, match=f"The config '{config}' does not exist"):
        read_config(config)
