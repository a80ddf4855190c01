import pytest
import torch
from engine_runs import SmallModel, run
from mmengine.hooks import Hook

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


@pytest.mark.parametrize(
    'model, message',
    [
        (lambda: SmallModel(kernel_count=1), 'at least 2, not 1'),
        (lambda: SmallModel().requires_grad_(True), None),
    ],
)
def test_single_element(tmp_path, model, message):
    hook = dict(type='mmdcls.RepulsiveLossHook')
    if message is None:
        run(tmp_path, model=model(), custom_hooks=[hook])
        return
    with pytest.raises(ValueError, match=message):
        run(tmp_path, model=model(), custom_hooks=[hook])


def test_model_without_dcls(tmp_path):
    model = SmallModel()
    model.conv.switch_to_deploy()
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
    with pytest.raises(ValueError, match='SmallModel has none'):
        run(
            tmp_path,
            model=model,
            optim_wrapper=wrapper,
            custom_hooks=[dict(type='mmdcls.RepulsiveLossHook')],
        )


def test_bad_arguments():
    from mmdcls.engine import RepulsiveLossHook

    with pytest.raises(ValueError, match='begin=-1'):
        RepulsiveLossHook(begin=-1)
