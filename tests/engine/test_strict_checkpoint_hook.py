import pytest
import torch
from engine_runs import SmallModel, run

from mmdcls.engine import CheckpointError

EXACT = dict(type='mmdcls.StrictCheckpointHook')
PARTIAL = dict(type='mmdcls.StrictCheckpointHook', partial=True)


def save(path, model=None, **changes):
    state_dict = (model or SmallModel()).state_dict()
    state_dict.update(changes)
    torch.save(
        {'state_dict': {k: v for k, v in state_dict.items() if v is not None}}, path
    )
    return str(path)


def train_from(tmp_path, checkpoint, hook):
    return run(
        tmp_path / 'run', max_epochs=1, load_from=checkpoint, custom_hooks=[hook]
    )


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'head.bias': None}, "no 'head.bias' .1 missing, 0 unexpected"),
        ({'other': torch.zeros(1)}, "no 'other' .0 missing, 1 unexpected"),
        (
            {'head.bias': torch.zeros(7)},
            r"'head.bias' is \(7,\) in the file and \(1,\)",
        ),
    ],
    ids=['missing', 'unexpected', 'shape'],
)
def test_exact_refuses_what_differs(tmp_path, changes, message):
    checkpoint = save(tmp_path / 'a.pth', **changes)
    with pytest.raises(CheckpointError, match=message) as error:
        train_from(tmp_path, checkpoint, EXACT)
    assert 'a.pth' in str(error.value)


def test_another_kernel_count_is_refused(tmp_path):
    checkpoint = save(tmp_path / 'a.pth', model=SmallModel(kernel_count=6))
    with pytest.raises(CheckpointError, match='of another shape'):
        train_from(tmp_path, checkpoint, EXACT)


def test_exact_accepts_its_own_and_ddps_names(tmp_path):
    model = SmallModel()
    train_from(tmp_path, save(tmp_path / 'a.pth', model=model), EXACT)
    prefixed = {f'module.{name}': v for name, v in model.state_dict().items()}
    torch.save({'state_dict': prefixed}, tmp_path / 'b.pth')
    train_from(tmp_path, str(tmp_path / 'b.pth'), EXACT)


def test_partial_accepts_some_and_refuses_none(tmp_path):
    checkpoint = save(tmp_path / 'a.pth', **{'head.bias': torch.zeros(7)})
    train_from(tmp_path, checkpoint, PARTIAL)
    torch.save({'state_dict': {'other': torch.zeros(1)}}, tmp_path / 'b.pth')
    with pytest.raises(CheckpointError, match='6 missing, 1 unexpected|missing'):
        train_from(tmp_path, str(tmp_path / 'b.pth'), PARTIAL)
