"""From a config to a runner, without running it."""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdcls.apis.launch import (
    build_runner,
    check_amp_evaluation,
    draw_predictions,
    enable_amp,
    enable_tta,
    load_config,
    start_backbone_from,
    use_available_device,
    use_exact_resuming,
    warn_of_random_backbone,
)
from mmdcls.checkpoints import CheckpointError
from mmdcls.engine.cpu_runner import CPURunner
from mmdcls.errors import ConfigError

LOAD, PACK = dict(type='LoadImageFromFile'), dict(type='PackInputs')


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("model = dict(type='A', depth=1)\noptim_wrapper = dict(type='B')")
    return path


def evaluated(scope, **settings):
    """A config with what testing a model of ``scope`` needs to be changed."""
    return Config(
        dict(
            default_scope=scope,
            model=dict(type='A'),
            test_dataloader=dict(dataset=dict(pipeline=[LOAD, PACK])),
            **settings,
        )
    )


@pytest.mark.parametrize(
    'own, asked, work_dir',
    [
        (None, None, 'work_dirs/mine'),
        ('own', None, 'own'),
        ('own', 'asked', 'asked'),
    ],
)
def test_where_a_run_goes(config, own, asked, work_dir):
    config.write_text(f'{config.read_text()}\nwork_dir = {own!r}')
    assert load_config(str(config), work_dir=asked).work_dir == work_dir


def test_settings_of_the_config_are_overridden(config):
    cfg = load_config(
        str(config), cfg_options={'model.depth': 3}, launcher='slurm', work_dir='x'
    )
    assert cfg.model == dict(type='A', depth=3)
    assert cfg.launcher == 'slurm'


def test_a_config_without_model_is_refused(tmp_path):
    path = tmp_path / 'empty.py'
    path.write_text('a = 1')
    with pytest.raises(ConfigError, match=r"The config '.*empty.py' has no model\."):
        load_config(str(path))


AMP = dict(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16', clip_grad=1)


def test_without_gpu_training_is_in_float32(no_gpu):
    cfg = Config(dict(optim_wrapper=dict(AMP)))
    use_available_device(cfg)
    assert cfg.optim_wrapper == dict(type='OptimWrapper', clip_grad=1)


def test_with_a_gpu_training_is_as_the_config_says(gpu):
    cfg = Config(dict(optim_wrapper=dict(AMP)))
    use_available_device(cfg)
    assert cfg.optim_wrapper == AMP


def test_mixed_precision(gpu):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', clip_grad=1)))
    enable_amp(cfg)
    assert cfg.optim_wrapper == dict(
        type='AmpOptimWrapper', loss_scale='dynamic', clip_grad=1
    )
    cfg.optim_wrapper.loss_scale = 512.0
    enable_amp(cfg)
    assert cfg.optim_wrapper.loss_scale == 512.0


def test_mixed_precision_needs_a_gpu(no_gpu):
    with pytest.raises(ConfigError, match='`amp` needs a GPU'):
        enable_amp(Config(dict(optim_wrapper=dict(type='OptimWrapper'))))
    check_amp_evaluation(Config(dict(default_scope='mmseg')))
    with pytest.raises(ConfigError, match='`amp`: detection needs a GPU'):
        check_amp_evaluation(Config(dict(default_scope='mmdet')))


def test_a_backbone_starts_from_a_classifier(tmp_path):
    path = str(tmp_path / 'classifier.pth')
    torch.save({'state_dict': {'backbone.a': torch.ones(1)}}, path)
    cfg = Config(dict(model=dict(backbone=dict(type='A'))))
    start_backbone_from(cfg, path)
    assert cfg.model.backbone.init_cfg == dict(
        type='Pretrained', checkpoint=path, prefix='backbone.'
    )


def test_a_backbone_starts_from_nothing_else(tmp_path):
    path = str(tmp_path / 'head.pth')
    torch.save({'state_dict': {'head.a': torch.ones(1)}}, path)
    with pytest.raises(CheckpointError, match=r'backbone\.'):
        start_backbone_from(Config(dict(model=dict(backbone=dict(type='A')))), path)
    with pytest.raises(ConfigError, match='`pretrained`: the model .* no backbone'):
        start_backbone_from(Config(dict(model=dict(type='A'))), path)


@pytest.mark.parametrize(
    'scope, change, is_warned',
    [
        ('mmseg', {}, True),
        ('mmdet', {'model.backbone.init_cfg': None}, True),
        ('mmpretrain', {}, False),
        ('mmseg', {'load_from': 'a.pth'}, False),
        ('mmseg', {'resume': True}, False),
        ('mmseg', {'model.init_cfg.type': 'Pretrained'}, False),
        ('mmdet', {'model.backbone.init_cfg.type': 'Pretrained'}, False),
    ],
)
def test_random_weights_downstream_are_told(scope, change, is_warned, monkeypatch):
    backbone = dict(type='mmdcls.ConvNeXtDCLS')
    cfg = Config(dict(default_scope=scope, model=dict(backbone=backbone)))
    cfg.merge_from_dict(change)
    messages = []
    log = 'mmdcls.apis.launch.print_log'
    monkeypatch.setattr(log, lambda text, **_: messages.append(text))
    warn_of_random_backbone(cfg)
    assert ['RANDOM weights' in text for text in messages] == [True] * is_warned


@pytest.mark.parametrize(
    'scope, model',
    [
        ('mmpretrain', 'mmpretrain.AverageClsScoreTTA'),
        ('mmdet', 'DetTTAModel'),
        ('mmseg', 'SegTTAModel'),
    ],
)
def test_augmentation_while_testing_is_a_flip(scope, model):
    cfg = evaluated(scope)
    enable_tta(cfg)
    assert cfg.model.type == model and cfg.model.module == dict(type='A')
    load, augmentation = cfg.test_dataloader.dataset.pipeline
    flips, (pack,) = augmentation.transforms
    assert load == LOAD and augmentation.type == 'TestTimeAug'
    assert [flip.prob for flip in flips] == [1.0, 0.0]
    assert pack.type == 'PackInputs'
    assert ('flip' in pack.get('meta_keys', ())) == (scope == 'mmdet')


def test_a_configs_own_augmentation_is_used():
    own = [LOAD, dict(type='TestTimeAug', transforms=[[PACK]])]
    cfg = evaluated('other', tta_model=dict(type='Mine'), tta_pipeline=own)
    enable_tta(cfg)
    assert cfg.model == dict(type='Mine', module=dict(type='A'))
    assert cfg.test_dataloader.dataset.pipeline == own


def test_augmentation_that_nobody_defined_is_refused():
    with pytest.raises(ConfigError, match="`tta`: .*default_scope='other'"):
        enable_tta(evaluated('other'))
    cfg = evaluated('mmdet')
    cfg.model.roi_head = dict(mask_head=dict(type='B'))
    with pytest.raises(ConfigError, match='`tta`: .* instance segmentation'):
        enable_tta(cfg)


@pytest.mark.parametrize(
    'scope, expected',
    [
        ('mmpretrain', dict(enable=True, interval=1, out_dir='drawn')),
        ('mmdet', dict(draw=True, interval=1, test_out_dir='drawn')),
        ('mmseg', dict(draw=True, interval=1)),
    ],
)
def test_pictures_of_predictions(scope, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    hooks = dict(visualization=dict(type='A'))
    cfg = evaluated(scope, default_hooks=hooks, visualizer=dict(type='B'))
    draw_predictions(cfg, 'drawn')
    if scope == 'mmdet':
        expected = {**expected, 'test_out_dir': str(tmp_path / 'drawn')}
    assert cfg.default_hooks.visualization == dict(type='A', **expected)
    drawn_by_visualizer = dict(
        type='B', save_dir='drawn', vis_backends=[dict(type='LocalVisBackend')]
    )
    assert cfg.visualizer == (
        drawn_by_visualizer if scope == 'mmseg' else dict(type='B')
    )


def test_pictures_need_a_hook():
    with pytest.raises(ConfigError, match='`show_dir`: .*default_hooks.visualization'):
        draw_predictions(evaluated('mmseg'), 'drawn')


@pytest.fixture
def runner_cfg(tmp_path, monkeypatch):
    """A config from which a runner can be built; the runner's class only notes it."""
    built = []
    for cls in (Runner, CPURunner):
        monkeypatch.setattr(
            cls, 'from_cfg', classmethod(lambda c, cfg: built.append((c, cfg)))
        )
    path = tmp_path / 'mine.py'
    path.write_text(
        "model = dict(type='A')\ncustom_hooks = [dict(type='EMAHook')]\n"
        f"launcher = 'none'\nwork_dir = {str(tmp_path / 'work')!r}"
    )
    return Config.fromfile(path), built


def test_every_runner_checks_what_it_loads(runner_cfg):
    cfg, built = runner_cfg
    build_runner(cfg, partial_checkpoint=True, allow_mismatch=True)
    ((cls, used),) = built
    assert cls is Runner and used.filename == cfg.filename
    assert used.custom_hooks == [
        dict(type='EMAHook'),
        dict(type='mmdcls.StrictCheckpointHook', partial=True, allow_mismatch=True),
        dict(type='mmdcls.NamedFilesHook'),
        dict(type='mmdcls.FiniteLossHook'),
    ]


def test_several_processes_without_gpu_have_a_runner_of_their_own(runner_cfg, no_gpu):
    cfg, built = runner_cfg
    cfg.launcher = 'pytorch'
    build_runner(cfg, partial_checkpoint=False)
    assert built[0][0] is CPURunner


def test_a_config_file_in_work_dir_is_not_written_over(runner_cfg, tmp_path):
    cfg, built = runner_cfg
    cfg.work_dir = str(tmp_path)
    build_runner(cfg, partial_checkpoint=False)
    assert built[0][1].filename is None


WHOLE, EXACT = 'mmdcls.WholeCheckpointHook', 'mmdcls.ExactResumeHook'


@pytest.mark.parametrize(
    'hooks', [{}, dict(checkpoint=dict(type='CheckpointHook', interval=3))]
)
def test_upstreams_hook_for_checkpoints_is_replaced(hooks):
    cfg = Config(dict(default_hooks=hooks) if hooks else {})
    use_exact_resuming(cfg)
    interval = 3 if hooks else 1
    assert cfg.default_hooks.checkpoint == dict(type=WHOLE, interval=interval)
    assert cfg.default_hooks.exact_resume == dict(type=EXACT)


@pytest.mark.parametrize(
    'checkpoint', [None, dict(type='other.CheckpointHook'), dict(type=WHOLE)]
)
def test_own_hook_for_checkpoints_stays(checkpoint):
    cfg = Config(
        dict(default_hooks=dict(checkpoint=checkpoint), custom_hooks=[dict(type=EXACT)])
    )
    use_exact_resuming(cfg)
    assert cfg.default_hooks == dict(checkpoint=checkpoint)
