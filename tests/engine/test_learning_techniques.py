"""What the learning techniques of paper section 3 do together, exactly."""

import copy

import pytest
import torch
import torch.multiprocessing as mp
from helpers.backbone_training import (
    gradients,
    make_batch,
    make_model,
    train_in_parallel,
)
from helpers.engine_runs import SmallModel, run
from helpers.tolerances import assert_close
from helpers.versions import needs_float16_on_cpu
from mmengine.hooks import Hook
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from mmengine.registry import OPTIM_WRAPPERS, PARAM_SCHEDULERS
from mmengine.runner import load_checkpoint, save_checkpoint
from torch import nn

from mmdcls.layers import DCLSConv2d, iter_dcls_layers
from mmdcls.models import ConvNeXtDCLS, ResNetDCLS

SMALL = dict(depths=[1, 2, 3, 1], channels=[4, 8, 12, 16])
CLAMP = dict(type='mmdcls.ClampPositionsHook')


class SharingModel(SmallModel):
    """Two DCLS layers with one position tensor, and a head."""

    def __init__(self):
        super().__init__()
        second = DCLSConv2d(
            3, 3, 5, 7, padding=3, groups=3, positions=self.conv.positions
        )
        self.conv = nn.Sequential(self.conv, second)


def convnext_dcls():
    return ConvNeXtDCLS(SMALL, dilated_kernel_size=5, kernel_count=3)


def resnet_dcls():
    return ResNetDCLS(18, base_channels=4, stem_channels=4)


class Positions(Hook):
    """Record the positions that each iteration leaves behind."""

    priority = 'LOWEST'

    def __init__(self):
        self.positions = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        layer = next(iter_dcls_layers(runner.model))
        self.positions.append(layer.positions.detach().clone())


def test_ema_averages_shared_positions_once_a_step(tmp_path):
    momentum, watch = 0.25, Positions()
    runner = run(
        tmp_path,
        model=SharingModel(),
        custom_hooks=[dict(type='EMAHook', momentum=momentum), CLAMP, watch],
    )
    ema = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook')
    averaged = ema.ema_model.module
    assert averaged.conv[0].positions is averaged.conv[1].positions
    # The first update copies, the others average.
    expected = watch.positions[0]
    for positions in watch.positions[1:]:
        expected = (1 - momentum) * expected + momentum * positions
    assert len(watch.positions) == 8
    assert (expected - watch.positions[-1]).abs().max() > 1e-3
    torch.testing.assert_close(averaged.conv[0].positions.detach(), expected)


@pytest.mark.parametrize('make', [convnext_dcls, resnet_dcls])
def test_ema_of_a_backbone_is_the_one_computed_by_hand(make):
    model = make()
    layers = list(iter_dcls_layers(model))
    average = ExponentialMovingAverage(model, momentum=0.1)
    for value in (1.0, 2.0, 0.5):
        with torch.no_grad():
            for layer in layers:
                layer.positions.fill_(value)
        average.update_parameters(model)
    expected = 0.9 * (0.9 * 1.0 + 0.1 * 2.0) + 0.1 * 0.5
    for layer in iter_dcls_layers(average.module):
        assert_close(
            layer.positions, torch.full_like(layer.positions, expected), 'kernel'
        )


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's AmpOptimWrapper on a CPU, where it refuses to be built."""

    def __init__(self, loss_scale, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', **loss_scale)
        self.cast_dtype = torch.bfloat16


def amp_wrapper(**kwargs):
    on_gpu = torch.cuda.is_available()
    kind = AmpOptimWrapper if on_gpu else CPUAmpOptimWrapper
    return dict(type=kind.__name__, loss_scale=dict(init_scale=8.0), **kwargs)


def fast_positions(positions_lr_mult=100.0, **kwargs):
    """By default positions leave their kernel at every step."""
    return dict(
        constructor='mmdcls.DCLSOptimWrapperConstructor',
        optimizer=dict(type='AdamW', lr=0.1),
        paramwise_cfg=dict(positions_lr_mult=positions_lr_mult),
        **kwargs,
    )


def steps_taken(positions):
    """The iterations that changed the positions, counted from 1."""
    pairs = zip(positions[:-1], positions[1:], strict=True)
    return [i for i, (a, b) in enumerate(pairs, start=2) if not torch.equal(a, b)]


@needs_float16_on_cpu
def test_amp_and_accumulation_clamp_after_a_real_step(tmp_path):
    dtypes = set()
    model = SharingModel()
    model.head.register_forward_hook(
        lambda module, args, output: dtypes.add(output.dtype)
    )
    watch = Positions()
    wrapper = amp_wrapper(**fast_positions(accumulative_counts=2))
    run(tmp_path, model=model, optim_wrapper=wrapper, custom_hooks=[CLAMP, watch])
    assert dtypes & {torch.float16, torch.bfloat16}
    assert steps_taken(watch.positions) == [2, 4, 6, 8]
    for positions in watch.positions[1:]:
        assert positions.dtype == torch.float32
        assert positions.abs().max() == 3


@needs_float16_on_cpu
def test_skipped_amp_steps_leave_positions_alone(tmp_path):
    """An infinite gradient makes the scaler skip the step; later ones are taken."""

    model = SharingModel()
    watch = Positions()
    wrapper = amp_wrapper(**fast_positions(positions_lr_mult=2.0))

    def overflow(gradient):
        return gradient * float('inf') if len(watch.positions) in (1, 2) else gradient

    model.head.weight.register_hook(overflow)
    runner = run(
        tmp_path, model=model, optim_wrapper=wrapper, custom_hooks=[CLAMP, watch]
    )
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2.0
    assert steps_taken(watch.positions) == [4, 5, 6, 7, 8]
    assert all(positions.abs().max() <= 3 for positions in watch.positions)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['convnext', 'resnet'])
def test_two_processes_with_checkpointing_give_the_gradients_of_one(name, tmp_path):
    results = tmp_path / 'gradients.pth'
    mp.spawn(train_in_parallel, (name, tmp_path / 'store', results), nprocs=2)
    expected = gradients(make_model(name, with_cp=False), make_batch())
    actual = torch.load(results)
    assert set(actual) == set(expected)
    for key, gradient in expected.items():
        assert gradient.abs().max() > 0, key
        assert_close(
            actual[key], gradient, 'gradient', msg=lambda m, k=key: f'{k}: {m}'
        )


@pytest.mark.parametrize('make', [convnext_dcls, resnet_dcls])
def test_checkpoint_round_trip_keeps_positions_shared(make, tmp_path):
    model, other = make(), make()
    path = str(tmp_path / 'model.pth')
    save_checkpoint({'state_dict': model.state_dict()}, path)
    load_checkpoint(other, path, strict=True)
    for copied in (other, copy.deepcopy(model)):
        assert len(dict(copied.named_parameters())) == len(
            dict(model.named_parameters())
        )
        for name, value in model.state_dict().items():
            torch.testing.assert_close(copied.state_dict()[name], value)


@pytest.mark.parametrize(
    'position_init, std', [('normal', 0.5), ('uniform', 6 / 12**0.5)]
)
@pytest.mark.parametrize('make', [ConvNeXtDCLS, ResNetDCLS])
def test_positions_start_as_the_paper_says(make, position_init, std):
    arguments = dict(arch='atto') if make is ConvNeXtDCLS else dict(depth=18)
    torch.manual_seed(0)
    model = make(
        **arguments, dilated_kernel_size=7, kernel_count=8, position_init=position_init
    )
    model.init_weights()
    positions = torch.cat(
        [p.positions.detach().flatten() for p in iter_dcls_layers(model)]
    )
    assert float(positions.std()) == pytest.approx(std, rel=0.03)
    assert float(positions.mean()) == pytest.approx(0, abs=0.03)
    assert positions.abs().max() <= 3


SCHEDULERS = {
    'poly': dict(type='PolyLR', end=10, power=0.9),
    'poly to an absolute rate': dict(type='PolyLR', end=10, eta_min=0.03),
    'cosine': dict(type='CosineAnnealingLR', T_max=10, eta_min_ratio=0.01),
    'cosine to an absolute rate': dict(
        type='CosineAnnealingLR', T_max=10, eta_min=0.03
    ),
    'one cycle': dict(type='OneCycleLR', total_steps=10, eta_max=0.2),
    'multi-step': dict(type='MultiStepLR', milestones=[3, 7]),
    'linear': dict(type='LinearLR', start_factor=1e-3, end=8),
    'exponential': dict(type='ExponentialLR', gamma=0.8),
}


def build_sgd(model, **paramwise_cfg):
    return build_optim_wrapper(
        model,
        dict(
            constructor='mmdcls.DCLSOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=0.1),
            paramwise_cfg=paramwise_cfg,
        ),
    ).optimizer


def build_scheduler(name, optimizer):
    return PARAM_SCHEDULERS.build(
        dict(SCHEDULERS[name], by_epoch=False), default_args=dict(optimizer=optimizer)
    )


def step_sizes(layers, optimizer):
    """How far a step moves each layer's weight and positions, gradients being 1."""
    params = [param for layer in layers for param in (layer.weight, layer.positions)]
    before = [param.detach().clone() for param in params]
    for group in optimizer.param_groups:
        for param in group['params']:
            param.grad = torch.ones_like(param)
    optimizer.step()
    moved = [
        float((old - param.detach()).mean())
        for old, param in zip(before, params, strict=True)
    ]
    return list(zip(moved[::2], moved[1::2], strict=True))


@pytest.mark.parametrize(
    'paramwise_cfg', [{}, dict(decay_rate=0.9, num_layers=6)], ids=str
)
@pytest.mark.parametrize('name', SCHEDULERS)
def test_positions_step_five_times_as_far_under_a_scheduler(name, paramwise_cfg):
    arch = dict(depths=[1, 1, 4, 1], channels=[4, 8, 12, 16])
    model = nn.Module()
    model.backbone = ConvNeXtDCLS(arch, dilated_kernel_size=5, kernel_count=3)
    model.double()
    optimizer = build_sgd(model, **paramwise_cfg)
    scheduler = build_scheduler(name, optimizer)
    # A stage shares its positions: they go by its first block's weight.
    layers = [stage[0].depthwise_conv for stage in model.backbone.stages]
    rates = set()
    for _ in range(9):
        sizes = step_sizes(layers, optimizer)
        assert len(sizes) == 4
        for weight, positions in sizes:
            assert positions == pytest.approx(5 * weight, rel=1e-9)
        scheduler.step()
        rates.add(round(optimizer.param_groups[0]['lr'], 9))
    assert len(rates) > 2


def test_the_factor_outlives_a_resumed_optimizer():
    model = SharingModel().double()
    before = build_sgd(model)
    build_scheduler('one cycle', before)
    before.step()
    optimizer = build_sgd(model)
    optimizer.load_state_dict(before.state_dict())
    scheduler = build_scheduler('one cycle', optimizer)
    for _ in range(3):
        ((weight, positions),) = step_sizes([model.conv[0]], optimizer)
        assert positions == pytest.approx(5 * weight, rel=1e-9)
        scheduler.step()


def test_positions_whose_weight_is_frozen_follow_the_schedule():
    model = SharingModel()
    model.conv[0].weight.requires_grad_(False)
    model.conv[1].weight.requires_grad_(False)
    optimizer = build_sgd(model)
    optimizer.step()
    rates = {id(group['params'][0]): group['lr'] for group in optimizer.param_groups}
    assert rates[id(model.conv[0].positions)] == pytest.approx(0.5)
