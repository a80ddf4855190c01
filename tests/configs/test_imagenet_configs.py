"""The ImageNet configs are the paper's: models, recipes and learning techniques."""

import functools
import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.engine_runs import Images, SmallModel, run
from helpers.tool_runs import assert_runs
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mmdcls.analysis.complexity import complexity_of_config
from mmdcls.engine import read_checkpoint
from mmdcls.layers import iter_dcls_layers
from mmdcls.paper.printed_tables import TABLE_1, TABLE_2
from mmdcls.testing import make_mini

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'configs/imagenet'
CONVNEXT = {
    'tiny': 'convnext-dcls-tiny_32xb128_in1k',
    'small': 'convnext-dcls-small_32xb128_in1k',
    'base': 'convnext-dcls-base_32xb128_in1k',
}
A3 = '_8xb256-rsb-a3-100e_in1k-160px'
DCLS = [*CONVNEXT.values(), f'resnet50-dcls-count5{A3}', f'resnet50-dcls-count6{A3}']

ROWS = [row for table in (TABLE_1, TABLE_2) for row in table.rows if row.config]
OURS = [Path(row.config).stem for row in ROWS if '::' not in row.config]


def load(name):
    path = f'{FOLDER / name}.py'
    cfg = get_config(name) if '::' in name else Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    return cfg


@functools.cache
def count(name):
    return complexity_of_config(load(name))


def build(cfg):
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def without_scope(node):
    """The config without the marks that mmengine leaves on what a base brought."""
    if isinstance(node, dict):
        return {k: without_scope(v) for k, v in node.items() if k != '_scope_'}
    return [without_scope(v) for v in node] if isinstance(node, list) else node


def within_a_percent(exact, printed, unit):
    """Whether ``exact`` is 1 % off at most, or is printed so.

    29M for 28.6M and 28M for 28.3M are more than 1 % off: no count could be nearer.
    """
    decimals = len(printed.partition('.')[2])
    if round(exact / unit, decimals) == float(printed):
        return True
    return exact == pytest.approx(float(printed) * unit, rel=0.01)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row.model)
def test_parameters_and_flops_are_the_printed_ones(row):
    name = row.config if '::' in row.config else Path(row.config).stem
    complexity = count(name)
    assert complexity.shape == (224, 224)
    assert within_a_percent(complexity.parameters, row.printed['parameters'], 1e6)
    assert within_a_percent(complexity.flops, row.printed['flops'], 1e9)


def test_every_config_is_a_row_of_the_tables():
    assert sorted(OURS) == sorted(path.stem for path in FOLDER.glob('*.py'))
    # All rows but SLaK's and RepLKNet's, which mmdcls and mmpretrain do not have.
    assert len(ROWS) == 6 + 15 - 4


@pytest.mark.parametrize(
    'variant, drop_path_rate, kernel_count',
    [('tiny', 0.1, 34), ('small', 0.4, 40), ('base', 0.5, 40)],
)
def test_convnext_dcls_is_mmpretrains_but_for_dcls(
    variant, drop_path_rate, kernel_count
):
    ours = load(CONVNEXT[variant])
    theirs = load(f'mmpretrain::convnext/convnext-{variant}_32xb128_in1k.py')
    backbone = ours.model.backbone
    assert backbone.drop_path_rate == drop_path_rate
    assert (backbone.pop('dilated_kernel_size'), backbone.pop('kernel_count')) == (
        17,
        kernel_count,
    )
    assert backbone.pop('type') == 'mmdcls.ConvNeXtDCLS'
    assert theirs.model.backbone.pop('type') == 'ConvNeXt'
    assert ours.optim_wrapper.pop('constructor') == 'mmdcls.DCLSOptimWrapperConstructor'
    same = ['model', 'optim_wrapper', 'train_cfg', 'auto_scale_lr']
    for key in [*same, 'train_dataloader', 'val_dataloader', 'test_dataloader']:
        assert without_scope(ours[key]) == without_scope(theirs[key]), key


def test_convnext_recipe_is_the_papers():
    cfg = load(CONVNEXT['tiny'])
    assert cfg.train_cfg.max_epochs == 300
    assert cfg.train_dataloader.batch_size * 32 == cfg.auto_scale_lr.base_batch_size
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (
        'AdamW',
        4e-3,
        0.05,
    )
    hooks = {hook.type: hook for hook in cfg.custom_hooks}
    assert hooks['EMAHook'].momentum == 1e-4
    assert hooks['mmdcls.RepulsiveLossHook'].begin == 21
    assert 'mmdcls.ClampPositionsHook' in hooks
    assert 'mmdcls.PositionStatisticsHook' in hooks
    resize, crop = cfg.test_dataloader.dataset.pipeline[1:3]
    assert (resize.scale, resize.edge, resize.interpolation) == (
        256,
        'short',
        'bicubic',
    )
    assert crop.crop_size == 224


@pytest.mark.parametrize('name', [name for name in OURS if name.endswith(A3)])
def test_resnet_recipe_is_a3(name):
    cfg = load(name)
    pipeline = cfg.train_dataloader.dataset.pipeline
    assert (pipeline[1].type, pipeline[1].scale) == ('RandomResizedCrop', 160)
    assert pipeline[3].magnitude_level == 6
    resize, crop = cfg.test_dataloader.dataset.pipeline[1:3]
    assert (resize.scale, crop.crop_size) == (236, 224)
    assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size) == (100, 256)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == (
        'Lamb',
        8e-3,
        0.02,
    )
    assert [(a.type, a.alpha) for a in cfg.model.train_cfg.augments] == [
        ('Mixup', 0.1),
        ('CutMix', 1.0),
    ]


def test_a3s_loss_is_the_mean_binary_cross_entropy():
    from mmpretrain.structures import DataSample

    head = build(load(f'resnet50{A3}')).head
    scores = torch.rand(2, 1000)
    samples = [DataSample().set_gt_score(score) for score in scores]
    features = torch.rand(2, 2048)
    expected = F.binary_cross_entropy_with_logits(head.fc(features), scores)
    loss = head.loss((features,), samples)['loss']
    torch.testing.assert_close(loss, expected)


class LearningRates(Hook):
    """Record the learning rates that each step is taken with."""

    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        names = {id(p): name for name, p in runner.model.named_parameters()}
        self.rates.append({names[id(g['params'][0])]: g['lr'] for g in groups})


@pytest.mark.parametrize('name', [CONVNEXT['tiny'], f'resnet50-dcls-count5{A3}'])
def test_positions_train_at_five_times_the_rate_all_along(name, tmp_path):
    cfg = load(name)
    watch = LearningRates()
    runner = Runner(
        model=SmallModel(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=4,
            dataset=Images(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=cfg.train_cfg.max_epochs),
        optim_wrapper=cfg.optim_wrapper,
        param_scheduler=cfg.param_scheduler,
        default_hooks=dict(checkpoint=None, logger=None),
        custom_hooks=[watch],
        default_scope='mmpretrain',
        log_level='ERROR',
        experiment_name=name,
    )
    runner.train()
    assert len(watch.rates) == 2 * cfg.train_cfg.max_epochs
    for rates in watch.rates:
        positions = rates.pop('conv.positions')
        assert len(set(rates.values())) == 1 and len(rates) == 4
        assert positions == pytest.approx(5 * rates['head.weight'], rel=1e-9)
    rates = [rates['head.weight'] for rates in watch.rates]
    base = cfg.optim_wrapper.optimizer.lr
    warm_up = cfg.param_scheduler[0].end
    assert rates[0] == pytest.approx(base * cfg.param_scheduler[0].start_factor)
    assert max(rates) == pytest.approx(base)
    assert rates.index(max(rates)) in (2 * warm_up - 1, 2 * warm_up)
    assert rates[2 * warm_up :] == sorted(rates[2 * warm_up :], reverse=True)
    # The last epoch is one step of the cosine before its end, 1e-6.
    angle = math.pi / (cfg.train_cfg.max_epochs - warm_up)
    last = 1e-6 + (base - 1e-6) * (1 - math.cos(angle)) / 2
    assert rates[-1] == pytest.approx(last, rel=1e-6)


def test_averaged_weights_are_validated_and_saved(tmp_path):
    """``state_dict`` of a checkpoint is what the reported scores belong to."""
    cfg = load(CONVNEXT['tiny'])
    hooks = [
        dict(hook)
        for hook in cfg.custom_hooks
        if hook.type != 'mmdcls.RepulsiveLossHook'  # Begins after this test ends.
    ]
    hooks[0]['momentum'] = 0.1
    seen = []

    class Watch(Hook):
        def before_val_iter(self, runner, batch_idx, data_batch=None):
            seen.append(runner.model.conv.positions.detach().clone())

    runner = run(
        tmp_path,
        max_epochs=1,
        custom_hooks=[*hooks, Watch()],
        default_scope=cfg.default_scope,
    )
    ema = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook')
    averaged = ema.ema_model.module.conv.positions.detach()
    trained = runner.model.conv.positions.detach()
    assert (averaged - trained).abs().max() > 1e-3
    torch.testing.assert_close(seen[0], averaged)
    saved = read_checkpoint(tmp_path / 'epoch_1.pth')
    torch.testing.assert_close(saved['state_dict']['conv.positions'], averaged)
    torch.testing.assert_close(
        saved['ema_state_dict']['module.conv.positions'], trained
    )


@pytest.mark.parametrize('name', DCLS)
def test_positions_are_in_a_group_of_their_own_without_decay(name):
    cfg = load(name)
    model = build(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    positions = {id(layer.positions) for layer in iter_dcls_layers(model)}
    assert len(positions) == 4
    groups = [
        group
        for group in wrapper.optimizer.param_groups
        if any(id(p) in positions for p in group['params'])
    ]
    assert sum(len(group['params']) for group in groups) == 4
    for group in groups:
        assert group['weight_decay'] == 0
        assert group['lr'] == pytest.approx(5 * cfg.optim_wrapper.optimizer.lr)


@pytest.mark.parametrize(
    'options',
    [
        {'model.backbone.interpolation': 'gaussian'},
        {'model.backbone.interpolation': 'triangle'},
        {'model.backbone.backend': 'fft'},
        {'model.backbone.backend': 'aten'},
        {'model.backbone.share_positions': False},
    ],
    ids=str,
)
def test_variants_are_switched_by_config(options):
    cfg = load(CONVNEXT['tiny'])
    cfg.merge_from_dict({'model.backbone.arch': 'atto', **options})
    layers = list(iter_dcls_layers(MODELS.build(cfg.model.backbone)))
    (key, value), *_ = options.items()
    attribute = key.rpartition('.')[2]
    if attribute == 'share_positions':
        assert len({id(layer.positions) for layer in layers}) == len(layers) == 12
    else:
        assert {getattr(layer, attribute) for layer in layers} == {value}


@pytest.mark.slow
@pytest.mark.parametrize('name', [DCLS[0], DCLS[3]])
def test_classifier_runs_forward_and_backward(name):
    from mmpretrain.structures import DataSample

    torch.manual_seed(0)
    cfg = load(name)
    cfg.model.backbone.update(
        dict(layer_scale_init_value=1.0)
        if 'convnext' in name
        else dict(zero_init_residual=False)
    )
    model = build(cfg).train()
    samples = [
        DataSample().set_gt_score(F.one_hot(torch.tensor(i), 1000)) for i in range(2)
    ]
    losses = model(torch.rand(2, 3, 64, 64), samples, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    for name, param in model.named_parameters():
        assert param.grad is not None and torch.isfinite(param.grad).all(), name


@pytest.fixture(scope='module')
def mini_imagenet(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mini')
    make_mini(folder, ['imagenet'])
    return folder / 'imagenet'


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, epochs',
    [
        ('convnext-dcls-atto_1xb32-mini_in1k-64px', 7),
        ('resnet18-dcls_1xb32-mini_in1k-64px', 4),
    ],
)
def test_mini_config_learns_in_a_part_of_its_epochs(
    name, epochs, mini_imagenet, tmp_path
):
    """Twice as good as chance, which is 10 %."""
    assert_runs(
        *('train.py', f'configs/mini/{name}.py', '--work-dir', tmp_path),
        *('--data-root', mini_imagenet, '--cfg-options'),
        *(f'train_cfg.max_epochs={epochs}', f'train_cfg.val_interval={epochs}'),
    )
    log = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    scores = [json.loads(line) for line in log if 'accuracy/top1' in line]
    assert len(scores) == 1
    assert scores[0]['accuracy/top1'] > 20
