"""A training that diverges ends, and leaves the checkpoints of before."""

import pytest
import torch
from helpers.engine_runs import SmallModel, run

from mmdcls.engine import DivergedError

HOOKS = [dict(type='mmdcls.FiniteLossHook')]
EVERY_ITERATION = dict(
    checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)
)


class Diverging(SmallModel):
    """Its loss is multiplied by ``factor`` and has ``offset`` added from step 3 on."""

    def __init__(self, factor=1.0, offset=0.0):
        super().__init__()
        self.factor, self.offset, self.steps = factor, offset, 0

    def forward(self, images, targets=None, mode='tensor'):
        outputs = super().forward(images, targets, mode)
        if mode == 'loss':
            self.steps += 1
            if self.steps >= 3:
                loss = outputs['loss_square'] * self.factor + self.offset
                outputs['loss_square'] = loss
        return outputs


def test_a_loss_that_is_nan_ends_the_training(tmp_path):
    with pytest.raises(DivergedError, match=r'loss is nan at iteration 3, and so is'):
        run(
            *(tmp_path, Diverging(factor=float('nan'))),
            custom_hooks=HOOKS,
            default_hooks=EVERY_ITERATION,
        )
    names = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert names == ['iter_1.pth', 'iter_2.pth']


def test_an_infinite_loss_with_finite_weights_is_told_and_passes(tmp_path, capsys):
    run(
        *(tmp_path, Diverging(offset=float('inf'))),
        custom_hooks=HOOKS,
        log_level='WARNING',
    )
    text = capsys.readouterr()
    assert (text.out + text.err).count('loss is inf at iteration 3') == 1


def test_no_checkpoint_of_weights_that_are_nan_is_written(tmp_path):
    runner = run(tmp_path, max_epochs=1, custom_hooks=HOOKS)
    with torch.no_grad():
        runner.model.head.weight.fill_(float('nan'))
    with pytest.raises(DivergedError, match='no checkpoint of it is written'):
        runner.save_checkpoint(str(tmp_path), 'bad.pth')
    assert not (tmp_path / 'bad.pth').exists()
