"""How fast positions move, beside the learning rate: paper Appendix F."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from mmdcls.errors import MmdclsError
from mmdcls.files import save_figure

_SPEED = re.compile(r'positions/(.+)/speed')


class LogError(MmdclsError, ValueError):
    """A work folder without what is to be drawn, said in one sentence."""


@dataclass
class PositionLog:
    """What a training logged, by epoch or iteration.

    Attributes:
        speeds: The speeds of every position tensor, by its first owner: mean absolute
            change since the step before, in pixels.
        learning_rates: That of the weights, by iteration.
        by_epoch: Whether speeds are by epoch.
    """

    speeds: dict[str, dict[int, float]] = field(default_factory=dict)
    learning_rates: dict[int, float] = field(default_factory=dict)
    by_epoch: bool = True


def find_position_logs(work_dir: str | os.PathLike) -> list[Path]:
    """List the logs of a training, the oldest first."""
    return sorted(Path(work_dir).glob('*/vis_data/scalars.json'))


def read_position_log(work_dir: str | os.PathLike) -> PositionLog:
    """Read what ``PositionStatisticsHook`` and mmengine's logger left.

    A training that was resumed has several logs: where they overlap, the latest counts.

    Args:
        work_dir: The training's folder.

    Raises:
        LogError: If there is no log or it has no speeds.
    """
    files = find_position_logs(work_dir)
    if not files:
        raise LogError(f"'{work_dir}' holds no */vis_data/scalars.json of a training.")
    log, epochs = PositionLog(), 0
    for path in files:
        for line in path.read_text().splitlines():
            entry = _read_entry(line, path)
            for name, value in entry.items():
                speed = _SPEED.fullmatch(name)
                if speed:
                    log.speeds.setdefault(speed[1], {})[entry['step']] = value
            if 'lr' in entry:
                log.learning_rates[entry['iter']] = entry['lr']
                epochs = max(epochs, entry.get('epoch', 0))
    if not log.speeds:
        raise LogError(
            f"'{work_dir}' holds no speeds of positions; train with "
            "custom_hooks=[dict(type='mmdcls.PositionStatisticsHook')]."
        )
    log.by_epoch = max(max(steps) for steps in log.speeds.values()) <= epochs
    return log


def _read_entry(line: str, path: Path) -> dict:
    try:
        entry = json.loads(line)
        if isinstance(entry, dict):
            return entry
    except (ValueError, RecursionError):
        pass
    raise LogError(f"'{path}' is no log of a training: it has a line {line[:60]!r}.")


def plot_positions(log: PositionLog, filename: str | os.PathLike) -> Path:
    """Draw Figures 7 and 8: average speeds, and the learning-rate schedule.

    Args:
        log: The log, as :func:`read_position_log` gives it.
        filename: The PNG file to write.

    Returns:
        The file's path.
    """
    figure = Figure(figsize=(11, 4))
    speeds, rates = figure.subplots(1, 2)
    for owner, values in log.speeds.items():
        label = owner.removeprefix('backbone.').removesuffix('.depthwise_conv')
        speeds.plot(*zip(*sorted(values.items()), strict=True), label=label)
    speeds.set(
        title='Average speed of positions',
        xlabel='epoch' if log.by_epoch else 'iteration',
        ylabel='pixels per epoch' if log.by_epoch else 'pixels per interval',
        ylim=(0, None),
    )
    # More would hide the curves: positions that are not shared have many owners.
    if len(log.speeds) <= 12:
        speeds.legend(title='first owner', fontsize='small')
    if log.learning_rates:
        rates.plot(*zip(*sorted(log.learning_rates.items()), strict=True))
    rates.set(title='Learning rate of the weights', xlabel='iteration', ylim=(0, None))
    figure.tight_layout()
    return save_figure(figure, filename)
