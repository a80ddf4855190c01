import pytest
import torch
from helpers.tolerances import assert_close
from helpers.trained_models import MINI_CONFIGS, assert_equal_outputs, build
from mmengine.config import Config
from torch import nn

from mmdcls.deployment.network import (
    AveragePoolByMatrix,
    DeployedNetwork,
    make_exportable,
    model_outputs,
)
from mmdcls.layers import DCLSConvNd


@pytest.mark.parametrize('output_size', [1, 3, 6, (2, 5), (None, 4)], ids=str)
@pytest.mark.parametrize('size', [(6, 6), (7, 11), (5, 4)], ids=str)
def test_pooling_by_matrices_is_adaptive_average_pooling(output_size, size):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = nn.AdaptiveAvgPool2d(output_size)(x)
    assert_close(AveragePoolByMatrix(output_size)(x), expected, 'output')


@pytest.mark.parametrize('name', MINI_CONFIGS)
def test_exportable_model_is_plain_and_equal(name):
    cfg = Config.fromfile(MINI_CONFIGS[name])
    model, changed = build(cfg), build(cfg)
    assert make_exportable(changed) is changed
    inputs = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = model_outputs(model, cfg.default_scope, inputs)
        actual = model_outputs(changed, cfg.default_scope, inputs)
    assert_equal_outputs(actual, expected)
    kinds = (DCLSConvNd, nn.SyncBatchNorm, nn.AdaptiveAvgPool2d)
    assert not any(isinstance(module, kinds) for module in changed.modules())


class Mean(nn.Module):
    """A model whose outputs are the means of its input's channels."""

    def __init__(self, **preprocessing):
        super().__init__()
        from mmpretrain.models import ClsDataPreprocessor

        self.data_preprocessor = ClsDataPreprocessor(**preprocessing)

    def forward(self, inputs):
        return inputs.mean((2, 3))


@pytest.mark.parametrize(
    'preprocessing',
    [
        dict(to_rgb=True, mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0]),
        dict(to_rgb=False, mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0]),
        dict(to_rgb=True),
        dict(),
    ],
    ids=str,
)
def test_rgb_images_are_preprocessed_as_openmmlab_does_bgr_ones(preprocessing):
    model = Mean(**preprocessing)
    bgr = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    expected = model(model.data_preprocessor(dict(inputs=list(bgr)))['inputs'])
    (actual,) = DeployedNetwork(model, preprocessing, 'mmpretrain')(bgr.flip(1).float())
    assert_close(actual, expected, 'output')
