"""Wherever a checkpoint is read, a ``.safetensors`` file does as well."""

import pytest
import torch
from helpers.robustness_runs import FEW, evaluate, read

from mmdcls.apis.inference import load_trained, make_inferencer
from mmdcls.apis.launch import build_runner, load_config
from mmdcls.checkpoints.reading import read_checkpoint
from mmdcls.converters.checkpoint_files import write_checkpoint
from mmdcls.models import ConvNeXtDCLS


@pytest.fixture(scope='module')
def both(small_model, tmp_path_factory):
    """The config, and the same weights as ``.pth`` and as ``.safetensors``."""
    config, checkpoint = small_model
    target = tmp_path_factory.mktemp('both') / 'model.safetensors'
    write_checkpoint(read_checkpoint(checkpoint), target)
    return config, checkpoint, target


def assert_equal_states(models):
    first, second = (model.state_dict() for model in models)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_loading_a_trained_model(both):
    config, *checkpoints = both
    assert_equal_states([load_trained(config, path)[1] for path in checkpoints])


def test_inference(both):
    config, *checkpoints = both
    inferencers = [make_inferencer(config, path, 'cpu') for path in checkpoints]
    assert_equal_states([inferencer.model for inferencer in inferencers])


def test_evaluation(both, tmp_path):
    config, *checkpoints = both
    models = []
    for checkpoint in checkpoints:
        cfg = load_config(str(config), work_dir=str(tmp_path))
        cfg.load_from = str(checkpoint)
        runner = build_runner(cfg, partial_checkpoint=False)
        runner.load_or_resume()
        models.append(runner.model)
    assert_equal_states(models)


def test_robustness(both, mini_sets, tmp_path):
    config, *checkpoints = both
    reports = [
        read(evaluate((config, path), mini_sets, tmp_path / path.suffix, **FEW))
        for path in checkpoints
    ]
    assert reports[0]['benchmarks'] == reports[1]['benchmarks']


def test_weights_to_start_from(tmp_path):
    options = dict(arch='atto', kernel_count=3)
    trained = ConvNeXtDCLS(**options)
    state_dict = {f'backbone.{name}': v for name, v in trained.state_dict().items()}
    write_checkpoint({'state_dict': state_dict}, tmp_path / 'a.safetensors')
    pretrained = dict(
        type='Pretrained',
        checkpoint=str(tmp_path / 'a.safetensors'),
        prefix='backbone.',
    )
    started = ConvNeXtDCLS(**options, init_cfg=pretrained)
    started.init_weights()
    assert_equal_states([trained, started])
