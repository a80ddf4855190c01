from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch
from helpers.engine_runs import Images, SmallModel, run
from helpers.tool_runs import ROOT
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import LOOPS, MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch.utils.data import DataLoader

from mmdcls.engine import RepulsiveLossHook
from mmdcls.layers import iter_dcls_layers
from mmdcls.layers.repulsive_loss import repulsive_loss


class Losses(Hook):
    """Keep what each iteration logs."""

    def __init__(self):
        self.logs = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.logs.append({name: float(value) for name, value in outputs.items()})


def test_loss_is_added_from_the_given_epoch_and_logged(tmp_path):
    losses = Losses()
    hook = dict(type='mmdcls.RepulsiveLossHook', begin=1, weight=3.0)
    runner = run(
        tmp_path,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        custom_hooks=[hook, losses],
    )
    assert len(losses.logs) == 8
    expected = 3 * float(repulsive_loss(runner.model))
    assert expected > 0
    for step, log in enumerate(losses.logs):
        assert ('loss_repulsive' in log) == (step >= 4)
        if step >= 4:
            assert log['loss_repulsive'] == pytest.approx(expected)
            plain = losses.logs[step - 4]['loss']
            assert log['loss'] == pytest.approx(plain + expected)
    assert 'train/loss_repulsive' in runner.message_hub.log_scalars
    assert not runner.model._forward_hooks


def test_positions_are_driven_apart(tmp_path):
    def trained(*hooks):
        model = SmallModel()
        with torch.no_grad():
            for layer in iter_dcls_layers(model):
                layer.positions.mul_(0.2)
        wrapper = dict(optimizer=dict(type='SGD', lr=0.05))
        run(tmp_path, model=model, optim_wrapper=wrapper, custom_hooks=[*hooks])
        return float(repulsive_loss(model))

    torch.manual_seed(0)
    without = trained()
    torch.manual_seed(0)
    hook = dict(type='mmdcls.RepulsiveLossHook', begin=0, by_epoch=False, weight=100.0)
    assert trained(hook) < 0.5 * without


def test_single_element(tmp_path):
    hook = dict(type='mmdcls.RepulsiveLossHook', begin=0)
    with pytest.raises(ValueError, match='at least 2, not 1'):
        run(tmp_path, model=SmallModel(kernel_count=1), custom_hooks=[hook])


@pytest.mark.parametrize(
    'train_cfg, options, begin',
    [
        (dict(by_epoch=True, max_epochs=300), {}, 21),
        (dict(by_epoch=True, max_epochs=30), dict(begin=5), 5),
        (dict(by_epoch=False, max_iters=160_000), {}, 11_200),
        (dict(by_epoch=False, max_iters=10), dict(begin=3), 3),
        (dict(by_epoch=True, max_epochs=3), dict(begin=7, by_epoch=False), 7),
    ],
)
def test_begin_follows_the_loop(train_cfg, options, begin):
    """Epoch 21, after epoch 20, is where the authors' code begins."""
    hook, runner = before_train(train_cfg, options)
    images, targets = torch.rand(2, 3, 9, 9), torch.zeros(2)
    by_epoch = train_cfg['by_epoch'] and options.get('by_epoch') is not False
    for step in (begin - 1, begin):
        setattr(runner, 'epoch' if by_epoch else 'iter', step)
        losses = runner.model(images, targets, mode='loss')
        assert ('loss_repulsive' in losses) == (step == begin)


@pytest.mark.parametrize(
    'train_cfg, options, message',
    [
        (dict(by_epoch=True, max_epochs=20), {}, 'begin=21 lies behind .* 20 epochs'),
        (dict(by_epoch=True, max_epochs=5), dict(begin=5), 'begin=5 lies behind'),
        (dict(by_epoch=False, max_iters=9), dict(begin=9), 'behind .* 9 iterations'),
        (
            dict(by_epoch=False, max_iters=9),
            dict(begin=1, by_epoch=True),
            'by_epoch=True does not go with this training',
        ),
    ],
)
def test_hook_that_can_never_act_stops_the_training(train_cfg, options, message):
    with pytest.raises(ValueError, match=message):
        before_train(train_cfg, options)


def before_train(train_cfg, options):
    """Start a training of a given length with the hook, and go no further."""
    loop = LOOPS.build(
        dict(
            type='EpochBasedTrainLoop'
            if train_cfg['by_epoch']
            else 'IterBasedTrainLoop',
            runner=MagicMock(),
            dataloader=DataLoader(Images()),
            **{k: v for k, v in train_cfg.items() if k != 'by_epoch'},
        )
    )
    runner = SimpleNamespace(model=SmallModel(), train_loop=loop, epoch=0, iter=0)
    hook = RepulsiveLossHook(**options)
    hook.before_train(runner)
    return hook, runner


def test_acts_in_an_iteration_based_training(tmp_path):
    losses = Losses()
    hook = dict(type='mmdcls.RepulsiveLossHook', begin=2)
    run(
        tmp_path,
        train_cfg=dict(by_epoch=False, max_iters=5),
        custom_hooks=[hook, losses],
    )
    expected = [False, False, True, True, True]
    assert ['loss_repulsive' in log for log in losses.logs] == expected


def test_model_without_dcls(tmp_path):
    model = SmallModel()
    model.conv.switch_to_deploy()
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
    with pytest.raises(ValueError, match='SmallModel has none'):
        run(
            tmp_path,
            model=model,
            optim_wrapper=wrapper,
            custom_hooks=[dict(type='mmdcls.RepulsiveLossHook', begin=0)],
        )


def label():
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(1)


def label_image():
    from mmseg.structures import SegDataSample

    return SegDataSample(
        gt_sem_seg=PixelData(data=torch.zeros(1, 64, 64, dtype=torch.long)),
        metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)),
    )


def objects():
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[:, 8:40, 8:40] = 1
    shape = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), (64, 64))
    return DetDataSample(
        gt_instances=InstanceData(
            bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]),
            labels=torch.tensor([3]),
            masks=BitmapMasks(masks.numpy(), 64, 64),
        ),
        metainfo=dict(shape, batch_input_shape=(64, 64), scale_factor=(1.0, 1.0)),
    )


@pytest.mark.parametrize(
    'config, make_sample',
    [
        ('convnext-dcls-atto_1xb32-mini_in1k-64px', label),
        ('resnet18-dcls_1xb32-mini_in1k-64px', label),
        ('upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128', label_image),
        ('cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco', objects),
    ],
)
def test_any_task_gets_the_loss_without_a_change_to_its_heads(config, make_sample):
    cfg = Config.fromfile(ROOT / f'configs/mini/{config}.py')
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    images, samples = torch.rand(2, 3, 64, 64), [make_sample() for _ in range(2)]
    loop = SimpleNamespace(max_epochs=300, max_iters=3000)
    runner = SimpleNamespace(model=model, train_loop=loop, epoch=20, iter=0)
    hook = RepulsiveLossHook(weight=2.0)
    hook.before_train(runner)
    assert 'loss_repulsive' not in model(images, samples, mode='loss')
    runner.epoch = 21
    losses = model(images, samples, mode='loss')
    expected = 2 * repulsive_loss(model)
    assert expected > 0
    torch.testing.assert_close(losses['loss_repulsive'], expected)
    total, logged = model.parse_losses(losses)
    others, _ = model.parse_losses(
        {name: loss for name, loss in losses.items() if name != 'loss_repulsive'}
    )
    torch.testing.assert_close(total, others + expected)
    assert 'loss_repulsive' in logged
    # Predictions are left alone.
    assert isinstance(model.eval()(images, samples), tuple | torch.Tensor)
    hook.after_train(runner)
    assert 'loss_repulsive' not in model.train()(images, samples, mode='loss')


def test_bad_arguments():
    with pytest.raises(ValueError, match='begin=-1'):
        RepulsiveLossHook(begin=-1)
