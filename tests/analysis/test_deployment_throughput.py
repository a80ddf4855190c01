import pytest
import torch
from helpers.trained_models import MINI_CONFIGS, assert_equal_outputs, set_batch_norms
from mmengine.config import Config

from mmdcls.analysis import deployment_throughput
from mmdcls.analysis.deployment_throughput import compare_deployed
from mmdcls.analysis.throughput import Contender, Settings
from mmdcls.layers import iter_dcls_layers


def contender(**settings):
    torch.manual_seed(0)
    settings = {'batch_size': 1, 'shape': (64, 64), **settings}
    model = Contender(Config.fromfile(MINI_CONFIGS['resnet']), Settings(**settings))
    set_batch_norms(model.model)
    model.images.mul_(50).add_(120)
    return model


@pytest.fixture
def runs(monkeypatch):
    """What is timed, by its name; nothing is."""
    found = {}

    def compare(first, second, name, *arguments):
        found.update({'trained': first, name: second})
        return name

    monkeypatch.setattr(deployment_throughput, 'compare', compare)
    return found


def test_all_contenders_give_the_outputs_of_the_trained_model(runs):
    model = contender()
    assert compare_deployed(model, onnx=True) == ['folded', 'onnxruntime']
    assert len(list(iter_dcls_layers(model.model))) == 16
    expected = runs['trained']()
    assert expected[0].shape == (1, 10)
    for name in ('folded', 'onnxruntime'):
        assert_equal_outputs(runs[name](), expected)


def test_times_folded_in_the_precision_asked_for(runs):
    assert compare_deployed(contender(amp=True)) == ['folded']
    (output,) = runs['folded']()
    assert output.dtype == torch.bfloat16 and not output.requires_grad


def test_rounds_are_those_of_compare():
    (comparison,) = compare_deployed(contender(), rounds=2, iterations=1)
    assert comparison.mode == 'folded'
    assert len(comparison.first) == len(comparison.second) == 2


def test_onnx_runtime_takes_no_other_settings():
    with pytest.raises(ValueError, match='neither `amp`, `channels_last` nor'):
        compare_deployed(contender(channels_last=True), onnx=True)
