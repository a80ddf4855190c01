"""The ADE20K and COCO configs: upstream's recipes, and DCLS as the only difference."""

import copy
import functools
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch.overrides import TorchFunctionMode

from mmdcls.layers import DCLSConvNd

ROOT = Path(__file__).resolve().parents[2]
ADE20K = 'configs/ade20k/upernet_convnext-{}_8xb2-amp-160k_ade20k-{}x{}.py'
CASCADE = (
    'configs/coco/'
    'cascade-mask-rcnn_convnext-{}_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'
)
MASK = 'configs/coco/mask-rcnn_convnext-{}_fpn_amp-ms-crop-3x_coco.py'
SIZES = ('tiny', 'small', 'base')

UPSTREAM = {
    **{
        ADE20K.format(size, crop, crop): (
            f'mmseg::convnext/convnext-{size}_upernet_'
            f'8xb2-amp-160k_ade20k-{crop}x{crop}.py'
        )
        for size, crop in [*((size, 512) for size in SIZES), ('base', 640)]
    },
    **{
        CASCADE.format(size): (
            f'mmdet::convnext/cascade-mask-rcnn_convnext-{letter}-p4-w7_fpn_'
            '4conv1fc-giou_amp-ms-crop-3x_coco.py'
        )
        for size, letter in zip(SIZES, 'tss', strict=True)
    },
    MASK.format('tiny'): (
        'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py'
    ),
}
"""Plain config to the upstream config it is; mmdet has no base, ours starts from S."""

DCLS = {path.replace('convnext-', 'convnext-dcls-'): path for path in UPSTREAM}
"""DCLS config to its plain counterpart."""

GAUSSIAN = {
    template: template.replace('-gaussian', '')
    for template in (
        ADE20K.format('dcls-tiny-gaussian', 512, 512),
        CASCADE.format('dcls-tiny-gaussian'),
    )
}

# drop path, decay rate, decay type, num_layers, lr: DESIGN's table, paper §4.3.
RECIPES = {
    ADE20K.format('dcls-tiny', 512, 512): (0.4, 0.9, 'stage_wise', 6, 1e-4),
    ADE20K.format('dcls-small', 512, 512): (0.3, 0.9, 'stage_wise', 12, 1e-4),
    ADE20K.format('dcls-base', 512, 512): (0.4, 0.9, 'stage_wise', 12, 1e-4),
    ADE20K.format('dcls-base', 640, 640): (0.4, 0.9, 'stage_wise', 12, 1e-4),
    CASCADE.format('dcls-tiny'): (0.4, 0.7, 'layer_wise', 6, 2e-4),
    CASCADE.format('dcls-small'): (0.6, 0.7, 'layer_wise', 12, 2e-4),
    CASCADE.format('dcls-base'): (0.7, 0.8, 'layer_wise', 12, 2e-4),
    MASK.format('dcls-tiny'): (0.4, 0.95, 'layer_wise', 6, 1e-4),
}


def short(path):
    """A readable test id."""
    name = Path(path).stem.split('_8xb2')[0].split('_fpn')[0]
    return name + ('-640' if '640x640' in path else '')


@functools.cache
def read(path):
    return Config.fromfile(ROOT / path)


def load(path):
    """A config for one test to change: reading one takes a second."""
    return copy.deepcopy(read(path))


def flatten(value, prefix=''):
    """Every leaf of a config with its dotted key; lists of dicts by index.

    ``_scope_`` is where mmengine notes that a base comes from another package.
    """
    if isinstance(value, dict) and value:
        items = [(key, inner) for key, inner in value.items() if key != '_scope_']
    elif isinstance(value, (list, tuple)) and any(isinstance(v, dict) for v in value):
        items = enumerate(value)
    else:
        return {prefix: value}
    leaves = {}
    for key, inner in items:
        leaves.update(flatten(inner, f'{prefix}.{key}' if prefix else str(key)))
    return leaves


def difference(config, other):
    """Keys whose values differ, with the value in ``config`` (None: absent)."""
    new, old = flatten(config.to_dict()), flatten(other.to_dict())
    missing = object()
    return {
        key: new.get(key)
        for key in {**old, **new}
        if new.get(key, missing) != old.get(key, missing)
    }


def test_every_config_is_compared_here():
    present = {
        path.relative_to(ROOT).as_posix()
        for folder in ('ade20k', 'coco')
        for path in (ROOT / 'configs' / folder).glob('*.py')
    }
    assert present == {*UPSTREAM, *DCLS, *GAUSSIAN}


@pytest.mark.parametrize('path', UPSTREAM, ids=short)
def test_plain_config_is_upstreams(path):
    changed = difference(load(path), get_config(UPSTREAM[path]))
    del changed['custom_imports.imports']
    # How it is saved, and nothing of how it is trained.
    assert changed.pop('default_hooks.checkpoint.type') == 'mmdcls.WholeCheckpointHook'
    assert changed.pop('default_hooks.exact_resume.type') == 'mmdcls.ExactResumeHook'
    if 'ade20k' in path:  # mmseg leaves it out.
        assert changed.pop('auto_scale_lr.base_batch_size') == 16
        assert changed.pop('auto_scale_lr.enable') is False
    if path != CASCADE.format('base'):
        assert not changed
        return
    checkpoint = changed.pop('checkpoint_file')
    assert 'convnext-base_3rdparty_32xb128-noema_in1k' in checkpoint
    assert changed == {
        'model.backbone.arch': 'base',
        'model.backbone.drop_path_rate': 0.7,
        'model.backbone.init_cfg.checkpoint': checkpoint,
        'model.neck.in_channels': [128, 256, 512, 1024],
        'optim_wrapper.paramwise_cfg.decay_rate': 0.8,
    }


@pytest.mark.parametrize('path', DCLS, ids=short)
def test_dcls_config_differs_from_plain_only_in_dcls(path):
    changed = difference(load(path), load(DCLS[path]))
    assert {k: v for k, v in changed.items() if 'init_cfg' not in k} == {
        'model.backbone.type': 'mmdcls.ConvNeXtDCLS',
        'model.backbone.dilated_kernel_size': 17,
        'model.backbone.kernel_count': 34 if 'tiny' in path else 40,
        'optim_wrapper.constructor': 'mmdcls.DCLSOptimWrapperConstructor',
        'custom_hooks.0.type': 'mmdcls.ClampPositionsHook',
    }
    # Upstream's weights are those of another backbone.
    assert load(path).model.backbone.init_cfg is None


@pytest.mark.parametrize('path', GAUSSIAN, ids=short)
def test_gaussian_config_differs_in_the_interpolation(path):
    changed = difference(load(path), load(GAUSSIAN[path]))
    assert changed == {'model.backbone.interpolation': 'gaussian'}


@pytest.mark.parametrize('path', DCLS, ids=short)
def test_recipe_is_the_papers(path):
    cfg = load(path)
    wrapper, backbone = cfg.optim_wrapper, cfg.model.backbone
    paramwise = wrapper.paramwise_cfg
    assert RECIPES[path] == (
        backbone.drop_path_rate,
        paramwise.decay_rate,
        paramwise.decay_type,
        paramwise.num_layers,
        wrapper.optimizer.lr,
    )
    assert backbone.layer_scale_init_value == 1.0
    assert wrapper.type == 'AmpOptimWrapper'
    assert wrapper.optimizer.type == 'AdamW'
    assert wrapper.optimizer.betas == (0.9, 0.999)
    assert wrapper.optimizer.weight_decay == 0.05
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=16)
    warmup, decay = cfg.param_scheduler
    if cfg.default_scope == 'mmdet':
        assert cfg.train_cfg.max_epochs == 36
        assert decay.milestones == [27, 33]
        return
    assert cfg.train_cfg.max_iters == 160_000
    assert (warmup.type, warmup.end) == ('LinearLR', 1500)
    assert (decay.type, decay.power, decay.eta_min) == ('PolyLR', 1.0, 0.0)


@pytest.mark.parametrize('path', [path for path in DCLS if 'coco' in path], ids=short)
def test_detectors_heads_and_crops_are_the_papers(path):
    cfg = load(path)
    crops = cfg.train_dataloader.dataset.pipeline[3].transforms
    assert len(crops) == 2 and crops[1][1].type == 'RandomCrop'
    for resize in (crops[0][0], crops[1][2]):
        assert [scale[0] for scale in resize.scales] == list(range(480, 801, 32))
    if 'cascade' not in path:
        assert cfg.model.type == 'MaskRCNN'
        return
    heads = cfg.model.roi_head.bbox_head
    assert len(heads) == 3
    for head in heads:
        assert (head.num_shared_convs, head.num_shared_fcs) == (4, 1)
        assert head.norm_cfg.type == 'SyncBN'
        assert head.loss_bbox.type == 'GIoULoss'


@pytest.mark.parametrize('path', [path for path in DCLS if 'ade20k' in path], ids=short)
def test_slide_and_multi_scale_evaluation(path):
    cfg = load(path)
    crop, stride = (640, 426) if '640x640' in path else (512, 341)
    assert cfg.model.test_cfg == dict(
        mode='slide', crop_size=(crop, crop), stride=(stride, stride)
    )
    assert cfg.model.data_preprocessor.size == (crop, crop)
    assert cfg.tta_model.type == 'SegTTAModel'
    resizes, flips = cfg.tta_pipeline[1].transforms[:2]
    scales = [resize.scale_factor for resize in resizes]
    assert scales == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
    assert [flip.prob for flip in flips] == [0.0, 1.0]


class ZeroInitialisation(TorchFunctionMode):
    """Parameters start at zero, which builds a large model much faster."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, '__module__', None) == 'torch.nn.init':
            with torch.no_grad():
                return (kwargs['tensor'] if 'tensor' in kwargs else args[0]).zero_()
        return func(*args, **kwargs)


def build(cfg):
    """The config's model and its optimizer's (learning rate, decay) by name."""
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    with ZeroInitialisation():
        model = MODELS.build(cfg.model)
    cfg.optim_wrapper.type = 'OptimWrapper'
    cfg.optim_wrapper.pop('loss_scale', None)
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {param: name for name, param in model.named_parameters()}
    listed = [
        (names[param], (group['lr'], group['weight_decay']))
        for group in optim_wrapper.optimizer.param_groups
        for param in group['params']
    ]
    trainable = {name for param, name in names.items() if param.requires_grad}
    assert len(listed) == len(dict(listed)), 'a parameter is in two groups'
    assert set(dict(listed)) == trainable
    return model, dict(listed)


@pytest.fixture(scope='module')
def upstream_options():
    """Options that the upstream constructor gives plain ConvNeXt, by config."""
    cache = {}

    def options(path):
        if path not in cache:
            cfg = load(path)
            assert cfg.optim_wrapper.constructor == (
                'LearningRateDecayOptimizerConstructor'
            )
            cache[path] = build(cfg)[1]
        return cache[path]

    return options


@pytest.mark.parametrize('path', [*DCLS, *GAUSSIAN], ids=short)
def test_only_positions_are_optimized_otherwise_than_upstream(path, upstream_options):
    expected = upstream_options(DCLS[GAUSSIAN.get(path, path)])
    model, actual = build(load(path))
    layers = {
        f'{name}.{kind}': (name, kind)
        for name, module in model.named_modules()
        if isinstance(module, DCLSConvNd)
        for kind, _ in module.named_parameters(recurse=False)
        if kind in ('positions', 'sigma')
    }
    own = set(layers) & set(actual)
    kinds = [kind for _, kind in map(layers.get, own)]
    assert kinds.count('positions') == 4, 'one position tensor a stage'
    assert set(actual) - own == set(expected)
    for name, values in expected.items():
        assert actual[name] == pytest.approx(values), name
    for name in own:
        layer, kind = layers[name]
        lr = expected[f'{layer}.weight'][0] * (5 if kind == 'positions' else 1)
        assert actual[name] == pytest.approx((lr, 0.0)), name


@pytest.mark.parametrize(
    'path', [ADE20K.format('dcls-tiny', 512, 512), CASCADE.format('dcls-tiny')]
)
def test_repulsive_loss_is_one_more_hook(path):
    from mmengine.registry import HOOKS

    cfg = load(path)
    init_default_scope(cfg.default_scope)
    cfg.custom_hooks.append(dict(type='mmdcls.RepulsiveLossHook', begin=20))
    names = [type(HOOKS.build(hook)).__name__ for hook in cfg.custom_hooks]
    assert names == ['ClampPositionsHook', 'RepulsiveLossHook']
