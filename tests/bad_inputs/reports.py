"""Reports, logs and documents that are not what a tool of ours wrote."""

import json
import os
from pathlib import Path

from bad_inputs.cases import Case

ROBUSTNESS = (
    '{m}/cls.py {m}/cls.pth --data-root {m}/data --out {out}/r --work-dir {out}/w '
    '--benchmarks clean --compare {m}/reports/'
)
TABLES = '--tables 1 --no-count --throughput {m}/reports/'
FILES = {
    'empty.json': '',
    'text.json': 'accuracy: 3',
    'list.json': '[1, 2]',
    'null.json': 'null',
    'number.json': '5',
    'deep.json': '[' * 100_000,
    'latin.json': b'{"model": "f\xe9e"}',
    'keys.json': '{}',
    'format.json': '{"format": 99}',
    'kinds.json': json.dumps({
        'format': 2, 'model': 5, 'task': [], 'benchmarks': 'c', 'missing': 3,
        'on_the_fly': 'no', 'contenders': 'two'}),
    'scores.json': json.dumps({
        'format': 2, 'model': 'a', 'task': 'classification', 'on_the_fly': False,
        'missing': [], 'parameters': 1, 'flops': 1, 'outputs': None,
        'benchmarks': {'clean': {'top1': 'high'}},
        'contenders': [{'config': 'a', 'images_per_second': 'many'}] * 2}),
    'cells.json': json.dumps({
        'format': 2, 'model': 'a', 'task': 'classification', 'on_the_fly': False,
        'missing': [], 'parameters': 1, 'flops': 1, 'outputs': None,
        'benchmarks': {'c': {'corruptions': {'fog': {'one': {}}}}},
        'contenders': [{'config': 'a', 'images_per_second': 0}] * 2}),
}  # fmt: skip


def write(materials: Path) -> None:
    """Write the reports, logs of trainings, and documents."""
    folder = materials / 'reports'
    folder.mkdir()
    for name, content in FILES.items():
        content = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(content)
    os.mkfifo(folder / 'pipe.json')
    (folder / 'folder.json').mkdir()
    for kind, log in LOGS.items():
        place = materials / 'logs' / kind / '1/vis_data'
        place.mkdir(parents=True)
        (place / 'scalars.json').write_text(log)
    runs = materials / 'runs/convnext-dcls-tiny_32xb128_in1k/robustness'
    runs.mkdir(parents=True)
    (runs / 'robustness.json').write_text('{')


LOGS = {
    'text': 'no JSON\n',
    'empty': '',
    'numbers': '1\n2\n',
    'others': '{"loss": 3, "step": 1}\n',
}
NAMES = [*FILES, 'pipe.json', 'folder.json']


def rows() -> list[Case]:
    cases = [Case(n, 'robustness.py', ROBUSTNESS + n, n) for n in NAMES]
    cases += [
        Case(name, 'analysis_tools/paper_tables.py', TABLES + name, name)
        for name in NAMES
    ]
    cases += [
        Case(f'log: {kind}', 'analysis_tools/plot_positions.py', f'{{m}}/logs/{kind}',
             kind)
        for kind in LOGS
    ]  # fmt: skip
    return [
        *cases,
        Case('a broken report of a run', 'analysis_tools/paper_tables.py',
             '--tables 5 --no-count --work-dirs {m}/runs', 'robustness.json'),
    ]  # fmt: skip
