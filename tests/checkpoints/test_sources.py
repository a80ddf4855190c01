"""Every way in which mmengine reads a checkpoint gives data."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from mmdcls.checkpoints.sources import _as_data

SCHEMES = ['open-mmlab://', 'openmmlab://', 'torchvision://', 'modelzoo://', 'mmcls://']
SCHEMES += ['pavi://', 's3://', 'petrel://', 'https://']


class Touches:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize('scheme', SCHEMES)
def test_no_loader_is_mmengines_own(scheme):
    loader = CheckpointLoader._get_checkpoint_loader(f'{scheme}x')
    assert loader.__globals__['__name__'] == 'mmdcls.checkpoints.sources'


def test_loaders_that_unpickle_anything_cannot(tmp_path, monkeypatch):
    trace = tmp_path / 'trace'
    torch.save({'a': Touches(trace)}, tmp_path / 'x.pth')

    def load(filename):
        return torch.load(filename, weights_only=False)

    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    with pytest.raises(Exception, match='[Ww]eights'):
        _as_data(load)(tmp_path / 'x.pth')
    assert not trace.exists()
    load(tmp_path / 'x.pth')
    assert trace.exists()


def test_text_is_made_plain_whatever_the_source(tmp_path, monkeypatch):
    torch.save({'state_dict': {}, 'meta': {'cfg': 'print()'}}, tmp_path / 'x.pth')
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_external_models', lambda: {'x': 'x.pth'}
    )
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    found = CheckpointLoader.load_checkpoint('open-mmlab://x')
    assert found == {'state_dict': {}, 'meta': {}}


@pytest.mark.parametrize(
    'component',
    [
        'mmdcls.registry',
        'mmdcls.models.ConvNeXtDCLS',
        'mmdcls.engine.ClampPositionsHook',
        'mmdcls.datasets.Corrupt',
        'mmdcls.evaluation.CorruptionError',
    ],
)
def test_importing_a_registered_component_makes_loading_safe(component):
    module, _, name = component.rpartition('.')
    code = f'from {module} import {name}\n'
    code += 'from mmengine.runner import CheckpointLoader\n'
    code += "print(CheckpointLoader._get_checkpoint_loader('x.pth').__module__)"
    process = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True
    )
    assert process.stdout.split() == ['mmdcls.checkpoints.sources'], process.stderr
