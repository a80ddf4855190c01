import mmcv
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.trained_models import assert_equal_outputs, mini_model
from mmengine.config import Config
from skimage import data

from mmdcls.apis.inference import make_inferencer
from mmdcls.converters import write_checkpoint
from mmdcls.deployment import ExportError, export
from mmdcls.deployment.fold import fold
from mmdcls.deployment.network import model_outputs

TASKS = [
    'convnext',
    'resnet',
    pytest.param('upernet', marks=pytest.mark.slow),
    pytest.param('cascade', marks=pytest.mark.slow),
]
SCOPES = {'upernet': 'mmseg', 'cascade': 'mmdet'}


def expected_outputs(model, name, images):
    """The trained model's, from RGB images normalised by hand."""
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    with torch.no_grad():
        inputs = (images - mean) / std
        return model_outputs(model, SCOPES.get(name, 'mmpretrain'), inputs)


def photographs(count, height, width):
    images = [
        torch.from_numpy(
            np.ascontiguousarray(photograph[:height, :width]).transpose(2, 0, 1)
        ).float()
        for photograph in (data.coffee(), data.astronaut(), data.rocket())
    ]
    return torch.stack(images[:count])


@pytest.mark.parametrize('name', TASKS)
def test_onnx_gives_the_trained_models_outputs_at_any_size(name, tmp_path):
    config, checkpoint, model = mini_model(name, tmp_path)
    target = tmp_path / 'new' / 'model.onnx'
    checks = export(config, checkpoint, target, shape=(64, 64))
    assert [check.shape for check in checks] == [(1, 3, 64, 64), (3, 3, 96, 128)]
    assert all(0 < check.difference <= 1e-5 for check in checks)
    assert list(target.parent.iterdir()) == [target]

    assert opset_of(target) == 18
    session = onnxruntime.InferenceSession(target)
    (images,) = session.get_inputs()
    assert images.name == 'images' and images.shape == ['batch', 3, 'height', 'width']
    names = [output.name for output in session.get_outputs()]
    levels = [f'level{i}' for i in range(5)]
    assert names == (levels if name == 'cascade' else ['logits'])
    for shape in [(1, 96, 64), (2, 79, 131)]:
        batch = photographs(*shape)
        outputs = session.run(None, {'images': batch.numpy()})
        expected = expected_outputs(model, name, batch)
        assert_equal_outputs([torch.from_numpy(o) for o in outputs], expected)


def opset_of(path):
    return {entry.domain: entry.version for entry in onnx.load(path).opset_import}['']


@pytest.mark.parametrize('opset', [17, 20])
def test_onnx_of_another_opset_gives_equal_outputs(opset, tmp_path):
    config, checkpoint, model = mini_model('resnet', tmp_path)
    target = tmp_path / 'model.onnx'
    export(config, checkpoint, target, shape=(64, 64), opset=opset)
    assert opset_of(target) == opset
    images = photographs(2, 79, 131)
    session = onnxruntime.InferenceSession(target)
    outputs = session.run(None, {'images': images.numpy()})
    expected = expected_outputs(model, 'resnet', images)
    assert_equal_outputs([torch.from_numpy(o) for o in outputs], expected)


@pytest.mark.parametrize('name', TASKS)
@pytest.mark.parametrize('ending', ['.pt', '.pt2'])
def test_torchscript_and_torch_export_give_them_too(name, ending, tmp_path):
    config, checkpoint, model = mini_model(name, tmp_path)
    target = tmp_path / f'model{ending}'
    # torch.export tells sizes of 1, as the last level of 64 x 64 has, from all others.
    shape = (128, 128) if name == 'cascade' else (64, 64)
    export(config, checkpoint, target, shape=shape)
    if ending == '.pt':
        network = torch.jit.load(target)
    else:
        network = torch.export.load(target).module()
    images = photographs(3, 111, 131)
    with torch.no_grad():
        outputs = network(images)
    assert_equal_outputs(outputs, expected_outputs(model, name, images))


def test_folded_checkpoint_is_exported_alike(tmp_path):
    config, checkpoint, model = mini_model('resnet', tmp_path)
    folded = tmp_path / 'folded.pth'
    write_checkpoint(fold(config, checkpoint).content, folded)
    target = tmp_path / 'model.pt'
    export(config, folded, target, options={'model.backbone.deploy': True})
    images = photographs(2, 64, 64)
    expected = expected_outputs(model, 'resnet', images)
    assert_equal_outputs(torch.jit.load(target)(images), expected)


@pytest.mark.parametrize('name', ['convnext', 'resnet', 'upernet', 'cascade'])
def test_inferencers_predict_alike_before_and_after_folding(name, tmp_path):
    config, checkpoint, _ = mini_model(name, tmp_path)
    result = fold(config, checkpoint)
    write_checkpoint(result.content, tmp_path / 'folded.pth')
    cfg = Config.fromfile(config)
    options = [option.removesuffix('=True') for option in result.options]
    cfg.merge_from_dict(dict.fromkeys(options, True))
    cfg.dump(tmp_path / 'folded.py')
    image = tmp_path / 'image.png'
    mmcv.imwrite(np.ascontiguousarray(data.coffee()[..., ::-1]), str(image))
    expected, actual = (
        numbers(make_inferencer(*files)(str(image)))
        for files in (
            (config, checkpoint),
            (tmp_path / 'folded.py', tmp_path / 'folded.pth'),
        )
    )
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def numbers(result):
    """What an inferencer predicts for one image, as arrays."""
    if isinstance(result, dict):
        result = result['predictions']
    if isinstance(result, list):
        (result,) = result
    if isinstance(result, dict):
        keys = ('pred_scores', 'labels', 'scores', 'bboxes')
        return [np.asarray(result[key]) for key in keys if len(result.get(key, ()))]
    return [np.asarray(result)]


def test_nothing_is_written_if_outputs_differ(tmp_path):
    config, checkpoint, _ = mini_model('resnet', tmp_path)
    before = set(tmp_path.iterdir())
    target = tmp_path / 'new' / 'model.pt'
    with pytest.raises(ExportError, match=r'differ from those of PyTorch by .*0e\+00'):
        export(config, checkpoint, target, shape=(64, 64), tolerance=0.0)
    assert set(tmp_path.iterdir()) == before
