"""Kill trainings at random moments, resume them, and compare with uninterrupted ones.

``PYTHONPATH=tests python -m faults.kill_and_resume --cycles 100`` prints a table;
it ends with exit code 1 if any training came out different.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

from .runs import differences, last_checkpoint, start, wait
from .trainings import SETTINGS, write_data

# After so many kills a training is left to end.
MOST_KILLS = 4


def main():
    """Run the cycles that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--cycles', type=int, default=20, help='trainings to kill')
    parser.add_argument('--seed', type=int, default=0, help='of the moments')
    parser.add_argument('--settings', nargs='*', help=f'of {", ".join(SETTINGS)}')
    parser.add_argument(
        '--plain', action='store_true', help="with mmengine's own hooks, to compare"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix='kill_and_resume'))
    try:
        counts = run_cycles(
            folder, args.cycles, args.seed, args.settings or list(SETTINGS), args.plain
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(counts))
    sys.exit(any(count['different'] for count in counts.values()))


def run_cycles(folder, cycles, seed, names, plain=False):
    """Kill and resume trainings of all settings in turn.

    Args:
        folder: An empty folder to work in.
        cycles: The number of trainings to kill.
        seed: The seed of the moments at which they are killed.
        names: The settings, by their names.
        plain: Whether to use mmengine's hooks in the place of ours.

    Returns:
        Counts by setting: ``trainings``, ``kills``, ``identical`` and ``different``.
    """
    write_data(folder / 'data')
    moments = random.Random(seed)
    keys = ('trainings', 'kills', 'identical', 'different')
    counts = {name: dict.fromkeys(keys, 0) for name in names}
    expected = {}
    for cycle in range(cycles):
        name = names[cycle % len(names)]
        arguments = (SETTINGS[name], folder / 'data')
        if name not in expected:
            began = time.monotonic()
            whole = folder / 'whole'
            if not wait(start(*arguments, whole, exact=not plain)):
                sys.exit(f'{name}: {(whole / "0.txt").read_text()[-3000:]}')
            expected[name] = last_checkpoint(whole), time.monotonic() - began
            shutil.rmtree(whole)
        content, seconds = expected[name]
        kills = kill_and_resume(*arguments, folder / 'cut', moments, seconds, plain)
        found = _compare(content, folder / 'cut')
        shutil.rmtree(folder / 'cut')
        counts[name]['trainings'] += 1
        counts[name]['kills'] += kills
        counts[name]['different' if found else 'identical'] += 1
        print(f'{cycle + 1}: {name}, {kills} kills: {found or "identical"}', flush=True)
    return counts


def kill_and_resume(setting, data, work_dir, moments, seconds, plain=False):
    """Train to the end with kills at random moments; returns their number, at least 1.

    Args:
        setting: A Setting.
        data: The folder of its data.
        work_dir: The folder of the training.
        moments: The generator of the moments.
        seconds: How long the training takes without a kill.
        plain: Whether to use mmengine's hooks in the place of ours.
    """
    kills = 0
    while True:
        processes = start(setting, data, work_dir, exact=not plain, resume=kills > 0)
        if kills == MOST_KILLS:
            wait(processes)
            return kills
        if kill(processes, moments.uniform(0.1, 1.1) * seconds):
            kills += 1
        elif kills:
            return kills
        else:
            # The machine has become faster: once more from the beginning.
            shutil.rmtree(work_dir)
            seconds *= 0.7


def kill(processes, seconds):
    """Kill processes after a time; returns whether any was still running."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    running = [process for process in processes if process.is_alive()]
    for process in running:
        process.kill()
        process.join()
    return bool(running)


def _compare(content, work_dir):
    """Describe how a training's last checkpoint differs; empty if it does not."""
    try:
        found = differences(content, last_checkpoint(work_dir))
    except Exception as error:
        log = (work_dir / '0.txt').read_text()[-2000:]
        return f'{error!r}\n{log}'
    leftovers = [path.name for path in work_dir.rglob('*.tmp')]
    if leftovers:
        return f'temporary files are left: {leftovers}'
    return f'{len(found)} differ, such as {found[0]}' if found else ''


def table(counts):
    """Format the counts as a Markdown table with a row for the sums."""
    keys = ('trainings', 'kills', 'identical', 'different')
    rows = [(name, *(count[key] for key in keys)) for name, count in counts.items()]
    sums = [sum(count[key] for count in counts.values()) for key in keys]
    head = ['| setting | ' + ' | '.join(keys) + ' |', '|---|' + '---:|' * len(keys)]
    body = ['| ' + ' | '.join(map(str, row)) + ' |' for row in [*rows, ('all', *sums)]]
    return '\n'.join([*head, *body])


if __name__ == '__main__':
    main()
