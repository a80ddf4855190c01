"""Environment variables that cannot be."""

from pathlib import Path

from bad_inputs.cases import Case

TRAIN = '{m}/cls.py --work-dir {out} --launcher '
ROBUSTNESS = (
    '{m}/cls.py {m}/cls.pth --data-root {m}/data --out {out} --benchmarks clean '
    '--work-dir {out}/w --launcher '
)
SOUND = {
    'RANK': '0',
    'WORLD_SIZE': '1',
    'LOCAL_RANK': '0',
    'MASTER_ADDR': '127.0.0.1',
    'MASTER_PORT': '29555',
}
CHANGES = [
    ({'RANK': ''}, 'RANK'),
    ({'RANK': 'first'}, "RANK='first'"),
    ({'RANK': '5'}, "RANK='5'"),
    ({'RANK': '-1'}, "RANK='-1'"),
    ({'WORLD_SIZE': ''}, 'WORLD_SIZE'),
    ({'WORLD_SIZE': '0'}, "WORLD_SIZE='0'"),
    ({'WORLD_SIZE': 'all'}, "WORLD_SIZE='all'"),
    ({'MASTER_ADDR': ''}, 'MASTER_ADDR'),
    ({'MASTER_PORT': ''}, 'MASTER_PORT'),
    ({'MASTER_PORT': 'http'}, "MASTER_PORT='http'"),
    ({'MASTER_PORT': '99999999'}, "MASTER_PORT='99999999'"),
    ({'LOCAL_RANK': 'x'}, "LOCAL_RANK='x'"),
]


def write(materials: Path) -> None:
    """Write a config that reads a variable."""
    text = "_base_ = './cls.py'\nwork_dir = '{{$MMDCLS_NO_SUCH_VARIABLE:}}'\n"
    (materials / 'variable.py').write_text(text)


def rows() -> list[Case]:
    cases = [
        Case(f'{next(iter(change.items()))}', tool, f'{arguments}pytorch', sentence,
             {**SOUND, **change})
        for i, (change, sentence) in enumerate(CHANGES)
        for tool, arguments in (('train.py', TRAIN), ('robustness.py', ROBUSTNESS))[
            i % 2 :
        ]
    ]  # fmt: skip
    return [
        *cases,
        Case('slurm without a GPU', 'train.py', f'{TRAIN}slurm', 'slurm'),
        Case('mpi without a GPU', 'robustness.py', f'{ROBUSTNESS}mpi', 'mpi'),
        Case('a variable that is not set', 'train.py', '{m}/variable.py',
             'MMDCLS_NO_SUCH_VARIABLE'),
        Case('a variable that is not set', 'analysis_tools/get_flops.py',
             '{m}/variable.py', 'MMDCLS_NO_SUCH_VARIABLE'),
    ]  # fmt: skip
