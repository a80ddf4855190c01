import importlib.metadata
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import MODELS, DefaultScope

from mmdcls.configs import building_from, change_config, options
from mmdcls.configs import reading as configs
from mmdcls.errors import ConfigError
from mmdcls.registry import MODELS as MMDCLS_MODELS

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


def small(text, tmp_path):
    path = tmp_path / 'small.py'
    path.write_text(f"default_scope = 'mmpretrain'\n{text}")
    return configs.read_config(str(path))


@pytest.mark.parametrize(
    'text, sentence',
    [
        ('a = dict(', 'is no Python: line 2'),
        ('a = b', "cannot be read: line 2: NameError: name 'b' is not defined"),
        ("_base_ = './no.py'", 'names a _base_ that does not exist'),
        ("_base_ = ['./small.py']", 'A config is its own _base_'),
        ('model = []', 'model=[], where a dictionary is expected'),
    ],
)
def test_a_config_that_cannot_be_read(text, sentence, tmp_path):
    with pytest.raises(ConfigError, match=re.escape(sentence)) as error:
        small(text, tmp_path)
    assert 'small.py' in str(error.value) and '\n' not in str(error.value)


def build(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'), building_from(cfg):
        MODELS.build(cfg.model)


def test_the_key_and_the_nearest_name_are_told(tmp_path):
    cfg = small("model = dict(type='GlobalAveragePoling')", tmp_path)
    with pytest.raises(
        ConfigError, match="model.type='GlobalAveragePoling' is unknown"
    ):
        build(cfg)
    cfg = small("model = dict(type='GlobalAveragePooling', dims=2)", tmp_path)
    message = (
        r"model \(type='GlobalAveragePooling'\) has no argument 'dims'; the nearest"
    )
    with pytest.raises(ConfigError, match=message):
        build(cfg)


def test_what_goes_wrong_elsewhere_or_in_mmdcls_stays_as_it_is(tmp_path):
    cfg = small("model = dict(type='mmdcls.DCLSConv2d')", tmp_path)
    with pytest.raises(KeyError, match='a bug'), building_from(cfg):
        raise KeyError('a bug')

    @MMDCLS_MODELS.register_module(name='Faulty', force=True)
    class Faulty:
        def __init__(self):
            fault_in_mmdcls()

    code = compile('def fault():\n    raise KeyError("a bug")', 'x.py', 'exec')
    ours = {'__name__': 'mmdcls.somewhere'}
    exec(code, ours)
    fault_in_mmdcls = ours['fault']
    cfg = small("model = dict(type='mmdcls.Faulty')", tmp_path)
    with pytest.raises(KeyError, match='a bug'):
        build(cfg)


def test_new_keys_are_told_and_unknown_ones_refused(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(options, 'print_log', lambda text, **_: told.append(text))
    cfg = small(
        "model = dict(type='ConvNeXt', arch='tiny')\nextra = dict(a=1)", tmp_path
    )
    change_config(cfg, {'model.drop_path_rate': 0.1, 'model.arch': 'small'})
    assert (cfg.model.drop_path_rate, cfg.model.arch) == (0.1, 'small')
    change_config(cfg, {'extra.bb': 2})
    assert "'extra.bb' of --cfg-options is new" in told[0]
    for option in ('modle.arch', 'model.drop_path', 'extra.b.c', 'model.arch.x'):
        with pytest.raises(ConfigError, match='`cfg_options`: '):
            change_config(cfg, {option: 1})


@pytest.mark.parametrize('config', sorted(ROOT.glob('configs/mini/*.py')), ids=str)
def test_sound_configs_pass(config):
    cfg = configs.read_config(str(config))
    change_config(cfg, {'train_dataloader.batch_size': 2, 'randomness.seed': 1})
