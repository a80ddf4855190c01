import json

import pytest
from helpers.engine_runs import run
from matplotlib.figure import Figure

from mmdcls.analysis.position_plot import LogError, plot_positions, read_position_log

HOOK = dict(type='mmdcls.PositionStatisticsHook')
LOGGER = dict(logger=dict(type='LoggerHook', interval=1))


def write_log(work_dir, timestamp, entries):
    folder = work_dir / timestamp / 'vis_data'
    folder.mkdir(parents=True)
    lines = ''.join(json.dumps(entry) + '\n' for entry in entries)
    (folder / 'scalars.json').write_text(lines)


def speed(step, value, owner='conv'):
    return {
        f'positions/{owner}/speed': value,
        f'positions/{owner}/std': 9.0,
        'step': step,
    }


def rate(iteration, epoch, value):
    return dict(lr=value, base_lr=value, iter=iteration, epoch=epoch, step=iteration)


@pytest.mark.parametrize('by_epoch, steps', [(True, [1, 2, 3]), (False, [4, 8, 12])])
def test_reads_what_a_training_logs(tmp_path, by_epoch, steps):
    hook = dict(HOOK, by_epoch=by_epoch, interval=1 if by_epoch else 4)
    runner = run(tmp_path, max_epochs=3, custom_hooks=[hook], default_hooks=LOGGER)
    log = read_position_log(tmp_path)
    assert list(log.speeds) == ['conv']
    assert list(log.speeds['conv']) == steps
    logged = runner.message_hub.get_scalar('positions/conv/speed').current()
    assert log.speeds['conv'][steps[-1]] == pytest.approx(logged)
    assert list(log.learning_rates) == list(range(1, 13))
    assert log.by_epoch == by_epoch


def test_resumed_training_overrides_what_it_repeats(tmp_path):
    write_log(
        tmp_path,
        '20240101_000000',
        [rate(1, 1, 0.1), speed(1, 0.5), rate(2, 2, 0.2), speed(2, 0.6)],
    )
    write_log(tmp_path, '20240102_000000', [rate(2, 2, 0.3), speed(2, 0.7)])
    log = read_position_log(tmp_path)
    assert log.speeds == {'conv': {1: 0.5, 2: 0.7}}
    assert log.learning_rates == {1: 0.1, 2: 0.3}


def test_draws_every_tensor_and_the_schedule(tmp_path, monkeypatch):
    entries = [rate(i, i, 0.1 / i) for i in (1, 2, 3)]
    for step in (1, 2, 3):
        entries += [speed(step, step / 10), speed(step, step / 20, 'stages.1.conv')]
    write_log(tmp_path, '20240101_000000', entries)
    drawn = []
    savefig = Figure.savefig
    monkeypatch.setattr(
        Figure,
        'savefig',
        lambda figure, *a, **k: drawn.append(figure) or savefig(figure, *a, **k),
    )
    path = plot_positions(read_position_log(tmp_path), tmp_path / 'a' / 'b.png')
    assert path.read_bytes().startswith(b'\x89PNG')
    speeds, rates = drawn[0].axes
    curves = {line.get_label(): list(line.get_ydata()) for line in speeds.lines}
    assert curves == {
        'conv': pytest.approx([0.1, 0.2, 0.3]),
        'stages.1.conv': pytest.approx([0.05, 0.1, 0.15]),
    }
    assert speeds.get_xlabel() == 'epoch'
    assert list(rates.lines[0].get_ydata()) == pytest.approx([0.1, 0.05, 0.1 / 3])


def test_folder_without_a_log(tmp_path):
    with pytest.raises(LogError, match=r'holds no \*/vis_data/scalars\.json'):
        read_position_log(tmp_path)


def test_log_without_positions(tmp_path):
    write_log(tmp_path, '20240101_000000', [rate(1, 1, 0.1)])
    with pytest.raises(LogError, match='no speeds of positions.*PositionStatistics'):
        read_position_log(tmp_path)
