"""Models of one and of four channels in the tools that make images themselves."""

import runpy
import sys

import onnxruntime
import pytest
import torch
from helpers.any_channels import any_channels_config, write_any_channels_model
from helpers.odd_images import write_odd_images
from helpers.tool_runs import ROOT, assert_refuses
from helpers.trained_models import assert_equal_outputs
from mmengine.config import Config

from mmdcls.analysis.complexity import complexity_of_config
from mmdcls.analysis.deployment_throughput import compare_deployed
from mmdcls.analysis.throughput import Contender, Settings
from mmdcls.deployment import export
from mmdcls.deployment.fold import fold
from mmdcls.layers import DCLSConv2d, input_channels


@pytest.fixture(scope='module', params=[1, 4])
def trained(request, tmp_path_factory):
    """Number of channels, config, checkpoint and model."""
    folder = tmp_path_factory.mktemp('trained')
    return request.param, *write_any_channels_model(folder, request.param)


def test_channels_are_those_of_the_first_convolution():
    assert input_channels(DCLSConv2d(5, 8, 3, 5)) == 5
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Conv1d(4, 2, 1))
    assert input_channels(layers) == 4
    layers.backbone = torch.nn.Conv2d(1, 2, 1)
    assert input_channels(layers) == 1
    assert input_channels(torch.nn.Linear(2, 2)) == 3


def test_flops_are_counted(trained):
    channels, config, *_ = trained
    counted = complexity_of_config(Config.fromfile(config), (64, 96))
    colour = complexity_of_config(any_channels_config(3), (64, 96))
    assert counted.channels == channels and colour.channels == 3
    stem = 4 * 4 * 8 * (64 // 4) * (96 // 4)
    assert counted.flops - colour.flops == (channels - 3) * stem


def test_folding_is_checked(trained):
    _, config, checkpoint, _ = trained
    result = fold(config, checkpoint)
    result.check()
    assert result.layers == 4


def test_throughput_is_timed(trained):
    channels, config, *_ = trained
    settings = Settings(batch_size=2, shape=(32, 32))
    contender = Contender(Config.fromfile(config), settings)
    assert contender.images.shape == (2, channels, 32, 32)
    contender.prepare('inference')()
    (comparison,) = compare_deployed(contender, rounds=2, iterations=1)
    assert len(comparison.first) == len(comparison.second) == 2


def test_export_takes_as_many_channels(trained, tmp_path):
    channels, config, checkpoint, model = trained
    target = tmp_path / 'model.onnx'
    checks = export(config, checkpoint, target, shape=(64, 64))
    assert [check.shape[1] for check in checks] == [channels] * 2
    session = onnxruntime.InferenceSession(target)
    assert session.get_inputs()[0].shape == ['batch', channels, 'height', 'width']
    images = torch.randint(256, (3, channels, 80, 48)).float()
    outputs = session.run(None, {'images': images.numpy()})
    # In the order in which the config loads them.
    mean = torch.tensor([100.0, 110.0, 120.0, 130.0])[:channels].view(-1, 1, 1)
    std = torch.tensor([50.0, 60.0, 70.0, 80.0])[:channels].view(-1, 1, 1)
    with torch.no_grad():
        expected = model((images - mean) / std)
    assert_equal_outputs([torch.from_numpy(o) for o in outputs], [expected])


def test_export_compares_on_images_that_the_config_loads(trained, tmp_path):
    channels, config, checkpoint, _ = trained
    images = write_odd_images(tmp_path / 'odd')
    target = tmp_path / 'model.pt'
    named = [images['rgba.png']] if channels == 4 else [images['rgba.png'].parent]
    for path in images.values():
        if path.name.startswith(('truncated', 'empty', 'text')):
            path.unlink()
    checks = export(config, checkpoint, target, images=named, shape=(32, 32))
    assert [check.shape[0] for check in checks] == [1, 2 if channels == 4 else 9]
    if channels == 4:
        assert_refuses(
            "rgb.png' with 3 channels, and the model takes 4.",
            *('deployment/export.py', config, checkpoint, target),
            *('--images', images['rgb.png']),
        )


def test_flops_tool_names_the_channels(trained, capsys, monkeypatch):
    channels, config, *_ = trained
    script = str(ROOT / 'tools/analysis_tools/get_flops.py')
    monkeypatch.setattr(sys, 'argv', [script, str(config), '--shape', '64', '96'])
    runpy.run_path(script, run_name='__main__')
    assert f'Image:      {channels} x 64 x 96\n' in capsys.readouterr().out
