import pytest
import torch
from helpers.tool_runs import ROOT
from mmengine.config import Config

from mmdcls.analysis.throughput import Comparison, Contender, Settings, compare
from mmdcls.layers import iter_dcls_layers

CLASSIFICATION = 'configs/mini/convnext-dcls-atto_1xb32-mini_in1k-64px.py'
SEGMENTATION = 'configs/mini/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py'
DETECTION = 'configs/mini/cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py'
SMALL = dict(depths=[1, 1, 1, 1], channels=[4, 8, 12, 16])


def load(config, slim=True):
    cfg = Config.fromfile(ROOT / config)
    if slim:
        cfg.model.backbone.arch = SMALL
        cfg.model.head.in_channels = 16
    return cfg


def contender(config=CLASSIFICATION, **settings):
    torch.manual_seed(0)
    settings = {'batch_size': 2, 'shape': (64, 64), **settings}
    return Contender(load(config, config == CLASSIFICATION), Settings(**settings))


def test_ratio_is_that_of_the_medians():
    comparison = Comparison('inference', (1.0, 2.0, 3.0), (4.0, 10.0, 9.0))
    assert comparison.medians == (2.0, 9.0)
    assert comparison.ratio == 4.5
    # Of 4, 5 and 3.
    assert comparison.quartiles == (3.5, 4.5)
    assert Comparison('inference', (2.0,), (3.0,)).quartiles == (1.5, 1.5)


def test_contenders_take_turns_and_the_order_alternates():
    calls = []
    comparison = compare(
        lambda: calls.append('a'),
        lambda: calls.append('b'),
        'inference',
        Settings(),
        rounds=3,
        iterations=2,
        warm_up=1,
    )
    assert ''.join(calls) == 'ab' + 'aabb' + 'bbaa' + 'aabb'
    assert len(comparison.first) == len(comparison.second) == 3
    assert min(comparison.first + comparison.second) > 0


@pytest.mark.parametrize(
    'options', [{}, dict(amp=True), dict(channels_last=True)], ids=str
)
def test_inference_gives_the_models_outputs(options):
    model = contender(**options)
    outputs = model.prepare('inference')()
    assert outputs.shape == (2, 10) and not outputs.requires_grad
    assert not model.model.training
    assert model.images.is_contiguous(
        memory_format=torch.channels_last
        if options.get('channels_last')
        else torch.contiguous_format
    )
    if options.get('amp'):
        assert outputs.dtype == torch.bfloat16


def test_training_takes_a_step_and_clamps():
    model = contender()
    step = model.prepare('training')
    layer = next(iter_dcls_layers(model.model))
    with torch.no_grad():
        layer.positions[0, 0] = 20.0
    before = {n: p.detach().clone() for n, p in model.model.named_parameters()}
    step()
    assert model.model.training
    changed = {
        name
        for name, param in model.model.named_parameters()
        if not torch.equal(param, before[name])
    }
    assert changed == set(before)
    assert layer.positions.abs().max() == 8
    assert all(p.grad is None for p in model.model.parameters())


def test_training_has_the_repulsive_loss_of_the_config():
    with_loss = contender()
    cfg = load(CLASSIFICATION)
    cfg.custom_hooks = []
    without = Contender(cfg, with_loss.settings)
    assert without.prepare('training') and not without._repulsion
    assert with_loss.prepare('training') and with_loss._repulsion == 1.0
    # Nothing but the repulsion reaches positions whose elements weigh nothing.
    moved = {}
    for name, model in (('with', with_loss), ('without', without)):
        layer = next(iter_dcls_layers(model.model))
        with torch.no_grad():
            layer.weight.zero_()
        before = layer.positions.detach().clone()
        model._train()
        moved[name] = not torch.equal(layer.positions, before)
    assert moved == {'with': True, 'without': False}


def test_segmentation_is_run_and_trained():
    model = contender(SEGMENTATION, shape=(64, 96))
    assert model.prepare('inference')().shape[:2] == (2, 150)
    model.prepare('training')()


def test_detection_is_run_and_trained():
    model = contender(DETECTION, batch_size=2, shape=(96, 64))
    model.prepare('inference')()
    boxes = torch.stack([sample.gt_instances.bboxes for sample in model.samples])
    assert (boxes[..., 2:] > boxes[..., :2]).all() and (boxes >= 0).all()
    assert (boxes[..., 2] <= 64).all() and (boxes[..., 3] <= 96).all()
    for sample in model.samples:
        areas = sample.gt_instances.bboxes[:, 2:] - sample.gt_instances.bboxes[:, :2]
        assert sample.gt_instances.masks.areas.tolist() == areas.prod(1).tolist()
    before = {n: p.detach().clone() for n, p in model.model.named_parameters()}
    model.prepare('training')()
    for part in ('backbone', 'rpn_head', 'roi_head.bbox_head', 'roi_head.mask_head'):
        changed = {
            not torch.equal(param, before[name])
            for name, param in model.model.named_parameters()
            if name.startswith(part)
        }
        assert True in changed, part


def test_a_model_is_run_under_other_settings():
    first = contender()
    second = first.with_settings(
        Settings(batch_size=1, shape=(32, 32), amp=True, channels_last=True)
    )
    assert second.model is first.model
    assert second.images.shape == (1, 3, 32, 32)
    assert second.prepare('inference')().dtype == torch.bfloat16
    assert first.images.shape == (2, 3, 64, 64)
    half = Settings(1, (32, 32), amp=True, amp_dtype=torch.float16)
    with first.with_settings(half).autocast():
        assert torch.get_autocast_dtype('cpu') == torch.float16
    with pytest.raises(ValueError, match='batch_size=0 must be at least 1'):
        first.with_settings(Settings(batch_size=0))


def test_bad_arguments():
    with pytest.raises(ValueError, match='batch_size=0 must be at least 1'):
        contender(batch_size=0)
    with pytest.raises(ValueError, match='rounds=0 and iterations=3'):
        compare(int, int, 'inference', Settings(), rounds=0)
    cfg = load(CLASSIFICATION)
    cfg.default_scope = 'mmpose'
    with pytest.raises(ValueError, match="default_scope='mmpose'; accepted are"):
        Contender(cfg, Settings())
    cfg = load(CLASSIFICATION)
    cfg.pop('optim_wrapper')
    with pytest.raises(ValueError, match='no optim_wrapper'):
        Contender(cfg, Settings(batch_size=1, shape=(64, 64))).prepare('training')


@pytest.mark.slow
def test_compiled_model_gives_equal_outputs():
    eager, compiled = contender(), contender(compile=True)
    compiled.model.load_state_dict(eager.model.state_dict())
    compiled.images.copy_(eager.images)
    torch.testing.assert_close(
        compiled.prepare('inference')(),
        eager.prepare('inference')(),
        rtol=1e-3,
        atol=1e-4,
    )
