"""Ctrl-C and SIGTERM end a training with workers, without a traceback."""

import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from bad_inputs.materials import write_materials
from helpers.tool_runs import ROOT


@pytest.fixture(scope='module')
def materials(tmp_path_factory):
    folder = tmp_path_factory.mktemp('materials')
    write_materials(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    'number, flags, code, word',
    [
        (signal.SIGINT, [], 130, 'Interrupted.'),
        (signal.SIGTERM, [], 143, 'Terminated.'),
        (signal.SIGTERM, ['--save-on-sigterm'], 143, 'goes on from'),
    ],
    ids=['Ctrl-C', 'SIGTERM', 'SIGTERM with a checkpoint'],
)
def test_a_training_is_ended(number, flags, code, word, materials, tmp_path):
    options = ['max_epochs=100000', 'val_interval=100000']
    process = subprocess.Popen(
        [sys.executable, 'tools/train.py', materials / 'cls.py', '--work-dir', tmp_path]
        + [*flags, '--no-validate', '--cfg-options']
        + [f'train_cfg.{option}' for option in options]
        + ['train_dataloader.num_workers=2', 'default_hooks.logger.interval=1']
        + ['default_hooks.logger.type=LoggerHook']
        + ['default_hooks.checkpoint.type=CheckpointHook']
        + ['default_hooks.checkpoint.interval=100000'],
        cwd=ROOT,
        env={**os.environ, 'PYTHONWARNINGS': 'ignore'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A terminal sends Ctrl-C to the workers, too.
        start_new_session=True,
    )
    for line in process.stdout:
        if 'Epoch(train)' in line:
            break
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid, number)
    rest = process.communicate()[0]
    assert process.returncode == code, rest[-3000:]
    # In a worker, Python's thread that hands memory over may see the end first.
    noise = r'Traceback [^\n]*\n  File "[^"]*/resource_sharer\.py".*?\n\w+Error: .*?\n'
    rest = re.sub(noise, '', rest, flags=re.DOTALL)
    assert 'Traceback' not in rest, rest[-3000:]
    assert word in rest
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert not {name for name in names if name.endswith(('.tmp', '.lock'))}
    saved = {name for name in names if name.startswith('iter_')}
    assert len(saved) == len(flags)
    for name in saved:
        assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / name)
        assert torch.load(tmp_path / name, weights_only=False)['optimizer']
