from types import SimpleNamespace

import pytest
import torch
from helpers.engine_runs import SmallModel, run
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS

from mmdcls.engine.clamp_positions_hook import check_averages
from mmdcls.layers import DCLSConv2d, named_dcls_layers
from mmdcls.models import ConvNeXtDCLS

CLAMP = dict(type='mmdcls.ClampPositionsHook')


class Watch(Hook):
    """Record the largest position that each iteration leaves behind."""

    priority = 'LOWEST'

    def __init__(self):
        self.largest = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.largest.append(float(runner.model.conv.positions.detach().abs().max()))


def optim_wrapper(lr=1.0, **kwargs):
    return dict(
        constructor='mmdcls.DCLSOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=lr),
        paramwise_cfg=dict(positions_lr_mult=1e6),
        **kwargs,
    )


def test_positions_stay_inside_the_kernel_after_every_step(tmp_path):
    without, with_hook = Watch(), Watch()
    run(tmp_path / 'without', optim_wrapper=optim_wrapper(), custom_hooks=[without])
    assert max(without.largest) > 3
    run(
        tmp_path / 'with',
        optim_wrapper=optim_wrapper(),
        custom_hooks=[CLAMP, with_hook],
    )
    assert max(with_hook.largest) == 3


def test_clamps_only_after_a_real_step(tmp_path, monkeypatch):
    clamped = []
    model = SmallModel()
    clamp = type(model.conv).clamp_positions
    monkeypatch.setattr(
        type(model.conv),
        'clamp_positions',
        lambda layer: (clamped.append(1), clamp(layer)),
    )
    wrapper = optim_wrapper(lr=1e-3, accumulative_counts=2)
    run(
        tmp_path, model=model, optim_wrapper=wrapper, max_epochs=1, custom_hooks=[CLAMP]
    )
    # Once at the start, then twice: four iterations make two steps.
    assert len(clamped) == 3


def test_positions_of_a_checkpoint_are_clamped_at_the_start(tmp_path):
    model = SmallModel()
    with torch.no_grad():
        model.conv.positions.fill_(9.0)
    watch = Watch()
    run(
        tmp_path,
        model=model,
        optim_wrapper=optim_wrapper(lr=0.0),
        max_epochs=1,
        custom_hooks=[CLAMP, watch],
    )
    assert watch.largest[0] == 3


def test_says_how_many_positions_are_clamped_at_the_start(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text: warnings.append(text))
    model = SmallModel()
    # A second layer with the same positions: they count once.
    model.other = DCLSConv2d(
        3, 3, 5, 7, padding=3, groups=3, positions=model.conv.positions
    )
    with torch.no_grad():
        model.conv.positions.zero_()
        model.conv.positions[0, 1, 0, :2] = torch.tensor([3.5, -5.25])
    options = dict(model=model, max_epochs=1, custom_hooks=[CLAMP])
    wrapper = optim_wrapper(lr=0.0)
    run(tmp_path, optim_wrapper=wrapper, **options)
    said = [text for text in warnings if 'position' in text]
    assert len(said) == 1 and '\n' not in said[0]
    assert said[0].startswith('2 of 30 position coordinates lie beyond their kernels')
    assert 'by up to 2.2 pixels' in said[0]
    run(tmp_path, optim_wrapper=wrapper, **options)
    assert [text for text in warnings if 'position' in text] == said


def test_ema_averages_clamped_positions(tmp_path):
    runner = run(
        tmp_path,
        optim_wrapper=optim_wrapper(),
        custom_hooks=[dict(type='EMAHook', momentum=0.5), CLAMP],
    )
    ema = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook')
    assert ema.ema_model.module.conv.positions.abs().max() <= 3


def test_positions_outside_the_optimizer_are_an_error(tmp_path):
    model = SmallModel()
    wrapper = OptimWrapper(torch.optim.SGD(model.head.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r'conv\.positions is in no param group'):
        run(tmp_path, model=model, optim_wrapper=wrapper, custom_hooks=[CLAMP])


def test_nan_positions_stop_the_training(tmp_path):
    class Spoil(Hook):
        priority = 'HIGHEST'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 2:
                with torch.no_grad():
                    runner.model.conv.positions[0, 0] = float('nan')

    with pytest.raises(ValueError, match=r'conv\.positions became NaN at iteration 3'):
        run(tmp_path, custom_hooks=[Spoil(), CLAMP])


def test_model_without_positions(tmp_path):
    model = SmallModel()
    model.conv.switch_to_deploy()
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
    with pytest.raises(ValueError, match='ClampPositionsHook needs .* has none'):
        run(tmp_path, model=model, optim_wrapper=wrapper, custom_hooks=[CLAMP])


def shared(share_positions=True):
    return ConvNeXtDCLS(
        dict(depths=[1, 1, 6, 1], channels=[2] * 4),
        dilated_kernel_size=3,
        kernel_count=3,
        share_positions=share_positions,
    )


def averages(model, **kwargs):
    """What ClampPositionsHook sees of an EMA hook, and the average itself."""
    average = ExponentialMovingAverage(model, momentum=0.1, **kwargs)
    hooks = [SimpleNamespace(ema_model=average)]
    return SimpleNamespace(hooks=hooks), dict(named_dcls_layers(model)), average


def test_averages_that_take_shared_positions_several_times_are_refused():
    model = shared()
    runner, layers, average = averages(model, update_buffers=True)
    positions = model.stages[2][0].depthwise_conv.positions
    with torch.no_grad():
        positions.fill_(0)
        average.update_parameters(model)
        positions.fill_(1)
        average.update_parameters(model)
    wrong = average.module.stages[2][0].depthwise_conv.positions
    # One step of six blocks: 1 - 0.9 ** 6 in place of 0.1.
    torch.testing.assert_close(wrong, torch.full_like(wrong, 1 - 0.9**6))
    with pytest.raises(ValueError, match='update_buffers=True averages positions'):
        check_averages(runner, layers)


@pytest.mark.parametrize(
    'share_positions, update_buffers', [(True, False), (False, True)]
)
def test_right_averages_are_accepted(share_positions, update_buffers):
    model = shared(share_positions)
    runner, layers, _ = averages(model, update_buffers=update_buffers)
    check_averages(runner, layers)


def test_our_average_takes_shared_positions_once():
    model = shared()
    model.norm = torch.nn.BatchNorm1d(2)
    average = MODELS.build(
        dict(type='mmdcls.ExponentialMovingAverage', momentum=0.1, update_buffers=True),
        default_args=dict(model=model),
    )
    runner = SimpleNamespace(hooks=[SimpleNamespace(ema_model=average)])
    check_averages(runner, dict(named_dcls_layers(model)))
    tensors = [*model.parameters(), model.norm.running_mean]
    for value in (1.0, 2.0):
        with torch.no_grad():
            for tensor in tensors:
                tensor.fill_(value)
        average.update_parameters(model)
    averaged = [*average.module.parameters(), average.module.norm.running_mean]
    assert len(averaged) == len(tensors)
    for tensor in averaged:
        torch.testing.assert_close(tensor.data, torch.full_like(tensor.data, 1.1))


def test_says_that_an_engine_rounds_positions(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text: warnings.append(text))
    model = SmallModel().to(torch.bfloat16)
    model.register_forward_pre_hook(
        lambda module, args, kwargs: (
            tuple(arg.to(torch.bfloat16) for arg in args),
            kwargs,
        ),
        with_kwargs=True,
    )
    run(tmp_path, model=model, max_epochs=1, custom_hooks=[CLAMP])
    said = [text for text in warnings if 'rounded' in text]
    assert len(said) == 1
    assert 'torch.bfloat16' in said[0] and 'up to 3 pixels' in said[0]
