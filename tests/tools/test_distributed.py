"""tools/dist_*.sh train and test as one process does; tools/slurm_*.sh call srun."""

import json
import os
import re
import socket
import subprocess
import sys

import pytest
import torch
from helpers.tool_runs import ROOT, assert_runs

from mmdcls.testing import make_mini

# No dropout, no drop path (the mini config has neither), no batch statistics, no chance
# in the pipeline. Consecutive images go to alternate processes, so that two processes
# with 2 images each see in every step what one with 4 does. SGD, because AdamW's first
# steps turn rounding errors of gradients that are zero into steps of full length.
CONFIG = """
_base_ = '{root}/configs/mini/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py'

norm_cfg = dict(type='GN', num_groups=4, requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    decode_head=dict(norm_cfg=norm_cfg),
    auxiliary_head=dict(norm_cfg=norm_cfg),
    test_cfg=dict(crop_size=(64, 64), stride=(48, 48)),
)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(sampler=dict(shuffle=False), dataset=dict(pipeline=pipeline))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = None
train_cfg = dict(max_iters=3, val_interval=100)
default_hooks = dict(checkpoint=dict(interval=3, save_optimizer=False))
"""


@pytest.fixture(scope='module')
def mini(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mini')
    # A number that is no multiple of two: the test's processes share it unevenly.
    make_mini(folder, ['ade20k'], train=8, val=3)
    return folder / 'ADEChallengeData2016'


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'distributed.py'
    path.write_text(CONFIG.format(root=ROOT))
    return path


def free_port():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def run_script(script, *arguments, **environment):
    process = subprocess.run(
        [ROOT / 'tools' / script, *map(str, arguments)],
        cwd=ROOT,
        env={
            **os.environ,
            'PYTHON': sys.executable,
            'PYTHONWARNINGS': 'ignore',
            'OMP_NUM_THREADS': '1',
            'PORT': str(free_port()),
            **environment,
        },
        capture_output=True,
        text=True,
    )
    return process


def assert_script_runs(*arguments, **environment):
    process = run_script(*arguments, **environment)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    return process.stdout + process.stderr


@pytest.fixture(scope='module')
def two_processes(mini, config, tmp_path_factory):
    """The folder of a training with two processes of 2 images each."""
    work_dir = tmp_path_factory.mktemp('two')
    assert_script_runs(
        *('dist_train.sh', config, 2, '--device', 'cpu', '--data-root', mini),
        *('--work-dir', work_dir, '--no-validate'),
        *('--cfg-options', 'train_dataloader.batch_size=2', 'randomness.seed=1'),
    )
    return work_dir


@pytest.mark.slow
def test_two_processes_get_the_weights_of_one(mini, config, two_processes, tmp_path):
    common = ('--device', 'cpu', '--data-root', mini, '--no-validate')
    for images, name in ((4, 'one'), (2, 'half')):
        assert_runs(
            *('train.py', config, *common, '--work-dir', tmp_path / name),
            *('--cfg-options', f'train_dataloader.batch_size={images}'),
            'randomness.seed=1',
        )

    def weights(folder):
        return torch.load(folder / 'iter_3.pth', weights_only=False)['state_dict']

    two, one, half = map(weights, (two_processes, tmp_path / 'one', tmp_path / 'half'))
    assert two.keys() == one.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5, msg=name)
    # One process with the batch of one of the two gets other weights.
    distance = max(float((two[name] - half[name]).abs().max()) for name in two)
    assert distance > 1e-3
    positions = [name for name in one if name.endswith('positions')]
    assert any((two[n] - half[n]).abs().max() > 1e-4 for n in positions)


@pytest.mark.slow
def test_two_processes_evaluate_as_one(mini, config, two_processes, tmp_path):
    checkpoint = two_processes / 'iter_3.pth'
    scores = []
    for processes in (1, 2):
        work_dir = tmp_path / str(processes)
        assert_script_runs(
            *('dist_test.sh', config, checkpoint, processes, '--device', 'cpu'),
            *('--data-root', mini, '--work-dir', work_dir),
        )
        (path,) = work_dir.glob('*/*.json')
        scores.append(json.loads(path.read_text()))
    assert scores[0]['mIoU'] == scores[1]['mIoU']
    assert scores[0]['aAcc'] == scores[1]['aAcc']


CRASH = """
import os, pathlib
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class CrashOnce(Hook):
    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        mark = pathlib.Path(runner.work_dir, 'crashed')
        if runner.iter == 1 and runner.rank == 1 and not mark.exists():
            mark.touch()
            os._exit(1)
"""

FSDP = """
runner_type = 'FlexibleRunner'
strategy = dict(type='FSDPStrategy')
custom_imports = dict(imports=['crash'], allow_failed_imports=False)
custom_hooks = [dict(type='mmdcls.ClampPositionsHook'), dict(type='CrashOnce')]
default_hooks = dict(checkpoint=dict(interval=1, save_optimizer=True))
"""


@pytest.mark.slow
@pytest.mark.skip(
    reason='restarted by torchrun on a CPU, init_process_group stood still in two runs '
    'of three; not understood yet'
)
def test_fsdp_after_a_crash_gets_the_weights_of_one_process(
    mini, config, two_processes, tmp_path
):
    """torchrun starts the processes again, and --resume goes on from a checkpoint."""
    (tmp_path / 'crash.py').write_text(CRASH)
    path = tmp_path / 'fsdp.py'
    path.write_text(f"_base_ = '{config}'\n{FSDP}")
    process = subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2'),
            *('--rdzv-backend=c10d', f'--rdzv-endpoint=127.0.0.1:{free_port()}'),
            *('--max-restarts=1', 'tools/train.py', path, '--launcher', 'pytorch'),
            *('--device', 'cpu', '--data-root', mini, '--work-dir', tmp_path / 'out'),
            *('--no-validate', '--resume', '--cfg-options', 'randomness.seed=1'),
            'train_dataloader.batch_size=2',
        ],
        cwd=ROOT,
        env={
            **os.environ,
            'PYTHONPATH': f'{ROOT}:{tmp_path}',
            'PYTHONWARNINGS': 'ignore',
            'OMP_NUM_THREADS': '1',
        },
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-4000:]
    assert (tmp_path / 'out/crashed').exists()
    # The other process may have come one iteration farther before it was ended.
    assert re.search(r'resumed epoch: 0, iter: [12]', process.stdout + process.stderr)
    # Any run loads them.
    actual = torch.load(tmp_path / 'out/iter_3.pth', weights_only=False)['state_dict']
    expected = torch.load(two_processes / 'iter_3.pth', weights_only=False)
    assert actual.keys() == expected['state_dict'].keys()
    for name, value in expected['state_dict'].items():
        torch.testing.assert_close(actual[name], value, rtol=0, atol=1e-5, msg=name)


@pytest.fixture
def srun(tmp_path):
    """A stand-in for Slurm's, which prints its arguments, one a line."""
    path = tmp_path / 'bin' / 'srun'
    path.parent.mkdir()
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return f'{path.parent}:{os.environ["PATH"]}'


@pytest.mark.parametrize(
    'script, tool, extra',
    [
        ('slurm_train.sh', 'train.py', ['--work-dir', 'a b']),
        ('slurm_test.sh', 'test.py', ['a b']),
    ],
)
def test_slurm(script, tool, extra, srun):
    output = assert_script_runs(
        *(script, 'gpu', 'job', 'config.py', 'a b', '--cfg-options', "x='1 2'"),
        PATH=srun,
        GPUS='16',
        SRUN_ARGS='--nodes=2 --exclusive',
        PYTHON='python3',
    )
    lines = output.splitlines()
    tool = str(ROOT / 'tools' / tool)
    start = lines.index('python3')
    assert lines[start:] == [
        *('python3', '-u', tool, '--launcher', 'slurm', 'config.py', *extra),
        *('--cfg-options', "x='1 2'"),
    ]
    assert lines[:2] == ['-p', 'gpu']
    assert {
        '--job-name=job',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--nodes=2',
        '--exclusive',
    } <= set(lines[:start])


def test_slurm_on_part_of_a_machine(srun):
    output = assert_script_runs(
        'slurm_train.sh', 'gpu', 'job', 'config.py', 'out', PATH=srun, GPUS='2'
    )
    assert {'--ntasks=2', '--ntasks-per-node=2', '--gres=gpu:2'} <= set(
        output.splitlines()
    )


@pytest.mark.parametrize(
    'script, arguments',
    [
        ('dist_train.sh', ['config.py']),
        ('dist_test.sh', ['config.py', 'a.pth']),
        ('slurm_train.sh', ['gpu', 'job', 'config.py']),
        ('slurm_test.sh', ['gpu', 'job', 'config.py']),
    ],
)
def test_missing_argument(script, arguments):
    process = run_script(script, *arguments)
    assert process.returncode == 2
    assert process.stderr.startswith('usage: ')
    assert len(process.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    'script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh']
)
def test_script_is_executable(script):
    assert os.access(ROOT / 'tools' / script, os.X_OK)
