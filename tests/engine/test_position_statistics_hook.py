import json

import pytest
import torch
from helpers.engine_runs import SmallModel, run


def scalars(work_dir):
    lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return [
        line for line in map(json.loads, lines) if any('positions' in k for k in line)
    ]


def test_speed_is_the_mean_absolute_change_an_epoch(tmp_path):
    model = SmallModel()
    starts = []

    def remember(module, args, output):
        starts.append(module.positions.detach().clone())

    model.conv.register_forward_hook(remember)
    hook = dict(type='mmdcls.PositionStatisticsHook')
    run(tmp_path, model=model, max_epochs=3, custom_hooks=[hook])
    logged = scalars(tmp_path)
    assert [entry['step'] for entry in logged] == [1, 2, 3]
    # Validation runs the model too: 4 + 4 forward passes an epoch.
    ends = [*starts[8::8], model.conv.positions.detach()]
    previous = starts[0]
    for entry, end in zip(logged, ends, strict=True):
        speed = float((end - previous).abs().mean())
        assert entry['positions/conv/speed'] == pytest.approx(speed, rel=1e-5)
        assert entry['positions/conv/std'] == pytest.approx(float(end.std()), rel=1e-5)
        previous = end


def test_share_at_the_border(tmp_path):
    model = SmallModel(kernel_count=4)
    with torch.no_grad():
        model.conv.positions.fill_(0.0)[0, :, :, 0] = 3.0
    hook = dict(type='mmdcls.PositionStatisticsHook', by_epoch=False, interval=2)
    run(
        tmp_path,
        model=model,
        max_epochs=1,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        custom_hooks=[hook],
    )
    logged = scalars(tmp_path)
    assert [entry['step'] for entry in logged] == [2, 4]
    assert logged[0]['positions/conv/at_border'] == pytest.approx(1 / 8)
    assert logged[0]['positions/conv/speed'] == 0


@pytest.mark.parametrize(
    'options, steps', [({}, [5]), (dict(interval=2), [2, 4])], ids=['default', 'two']
)
def test_counts_iterations_where_the_training_does(tmp_path, options, steps):
    hook = dict(type='mmdcls.PositionStatisticsHook', **options)
    loop = dict(by_epoch=False, max_iters=5)
    run(tmp_path, train_cfg=loop, custom_hooks=[hook])
    assert [entry['step'] for entry in scalars(tmp_path)] == steps


@pytest.mark.parametrize(
    'options, loop, message',
    [
        (
            dict(interval=3),
            dict(by_epoch=True, max_epochs=2),
            'interval=3 lies behind the end of this training of 2 epochs',
        ),
        (
            dict(by_epoch=True),
            dict(by_epoch=False, max_iters=5),
            'by_epoch=True does not go with this training',
        ),
        (
            dict(interval=0),
            dict(by_epoch=True, max_epochs=2),
            'interval=0 must be at least 1',
        ),
    ],
)
def test_hook_that_can_never_act_stops_the_training(tmp_path, options, loop, message):
    hook = dict(type='mmdcls.PositionStatisticsHook', **options)
    with pytest.raises(ValueError, match=message):
        run(tmp_path, train_cfg=loop, custom_hooks=[hook])


def test_model_without_positions(tmp_path):
    model = SmallModel()
    model.conv.switch_to_deploy()
    with pytest.raises(ValueError, match='SmallModel has none'):
        run(
            tmp_path,
            model=model,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            custom_hooks=[dict(type='mmdcls.PositionStatisticsHook')],
        )


def test_speed_goes_on_where_a_training_was_interrupted(tmp_path):
    def train(folder, **options):
        hook = dict(type='mmdcls.PositionStatisticsHook', interval=2)
        run(folder, custom_hooks=[hook], max_epochs=4, **options)
        return scalars(folder)[-1]

    whole = train(tmp_path / 'whole')
    # Between two logs, so that the last positions are not those of the checkpoint.
    checkpoint = str(tmp_path / 'whole/epoch_3.pth')
    resumed = train(tmp_path / 'resumed', resume=True, load_from=checkpoint)
    assert resumed['step'] == whole['step'] == 4
    key = 'positions/conv/speed'
    assert resumed[key] == whole[key] > 0
