"""tools/deployment/export.py as a command; what it writes: tests/deployment."""

import runpy
import sys

import pytest
import torch
from helpers.tool_runs import ROOT, assert_refuses
from helpers.trained_models import MINI_CONFIGS, mini_model
from mmengine.config import Config
from skimage import data, io

from mmdcls.deployment import FORMATS, formats
from mmdcls.errors import MissingPackageError

SCRIPT = 'deployment/export.py'
SMALL = ('--shape', 64, 64)


class Hostile:
    """Ends the process when it is unpickled."""

    def __reduce__(self):
        return sys.exit, ('hostile code ran',)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The mini ResNet's config and checkpoint."""
    return mini_model('resnet', tmp_path_factory.mktemp('trained'))[:2]


def test_prints_the_differences_on_named_images(trained, tmp_path, monkeypatch, capsys):
    io.imsave(tmp_path / 'cup.png', data.coffee())
    target = tmp_path / 'model.pt'
    arguments = (*trained, target, '--images', tmp_path / 'cup.png', *SMALL)
    monkeypatch.setattr(sys, 'argv', [SCRIPT, *map(str, arguments)])
    runpy.run_path(str(ROOT / 'tools' / SCRIPT), run_name='__main__')
    printed = capsys.readouterr().out
    assert '1 x 3 x 64 x 64: outputs differ' in printed
    assert '2 x 3 x 96 x 128: outputs differ' in printed
    assert f'Written: {target}' in printed and target.is_file()


def truncated(checkpoint, path):
    path.write_bytes(checkpoint.read_bytes()[:3000])


def hostile(checkpoint, path):
    torch.save({'state_dict': torch.load(checkpoint), 'meta': Hostile()}, path)


def nan(checkpoint, path):
    content = torch.load(checkpoint)
    content['state_dict']['head.fc.bias'][0] = float('nan')
    torch.save(content, path)


def another(checkpoint, path):
    torch.save({'state_dict': {'conv1.weight': torch.zeros(2)}}, path)


@pytest.mark.parametrize(
    'spoil, message',
    [
        (truncated, 'is not a complete checkpoint'),
        (hostile, 'nothing in it was run'),
        (nan, "NaN or infinite in 'head.fc.bias'"),
        (another, 'does not fit the model of'),
    ],
)
def test_bad_checkpoint_ends_in_one_sentence(spoil, message, trained, tmp_path):
    config, checkpoint = trained
    spoil(checkpoint, tmp_path / 'bad.pth')
    target = tmp_path / 'new' / 'model.onnx'
    assert_refuses(message, SCRIPT, config, tmp_path / 'bad.pth', target, *SMALL)
    assert not target.parent.exists()


def other_scope(folder):
    cfg = Config.fromfile(MINI_CONFIGS['resnet'])
    cfg.default_scope = 'mmpose'
    cfg.model.type = 'mmpretrain.ImageClassifier'
    cfg.model.neck.type = 'mmpretrain.GlobalAveragePooling'
    cfg.model.head.type = 'mmpretrain.LinearClsHead'
    cfg.model.head.loss.type = 'mmpretrain.LabelSmoothLoss'
    cfg.dump(folder / 'scope.py')
    return folder / 'scope.py'


def test_bad_arguments_end_in_one_sentence(trained, tmp_path):
    config, checkpoint = trained
    target = tmp_path / 'new' / 'model.pt'
    (tmp_path / 'text.png').write_text('no image')
    for message, *arguments in (
        ("model.pb', must end in .onnx or .pt or .pt2", tmp_path / 'new/model.pb'),
        ("absent.png' does not exist", target, '--images', tmp_path / 'absent.png'),
        ('cannot be read as an image', target, '--images', tmp_path / 'text.png'),
        ('differ from those of PyTorch', target, '--tolerance', 0, *SMALL),
    ):
        assert_refuses(message, SCRIPT, config, checkpoint, *arguments)
    assert_refuses('does not exist', SCRIPT, tmp_path / 'no.py', checkpoint, target)
    scope = other_scope(tmp_path)
    assert_refuses("default_scope='mmpose'", SCRIPT, scope, checkpoint, target)
    (tmp_path / 'file').touch()
    target = tmp_path / 'file' / 'model.pt'
    message = "model.pt' cannot be written"
    assert_refuses(message, SCRIPT, config, checkpoint, target, *SMALL)
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
    'opset, target, message',
    [
        (0, 'a.onnx', '--opset: opset=0 must be between 1 and '),
        (999, 'a.onnx', '--opset: opset=999 must be between 1 and '),
        (17, 'a.pt', '--opset is of .onnx files, TorchScript has none.'),
        (9, 'a.onnx', 'it takes opset 18, and opset=9 was asked for'),
    ],
)
def test_opset_that_cannot_be_is_refused(opset, target, message, trained, tmp_path):
    target = tmp_path / 'new' / target
    assert_refuses(message, SCRIPT, *trained, target, *SMALL, '--opset', opset)
    assert not target.parent.exists()


def test_size_that_the_config_pads_is_refused(tmp_path):
    config, checkpoint, _ = mini_model('cascade', tmp_path)
    target = tmp_path / 'new' / 'model.pt'
    message = '(64, 80) are padded to (64, 96)'
    options = ('--shape', 64, 80)
    assert_refuses(message, SCRIPT, config, checkpoint, target, *options)
    assert not target.parent.exists()


def test_missing_package_is_named(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(
        formats, 'find_spec', lambda name: None if name == 'onnxscript' else name
    )
    message = 'ONNX needs onnxscript, which is not installed: pip install onnxscript'
    assert_refuses(message, SCRIPT, *trained, tmp_path / 'model.onnx')
    assert not list(tmp_path.iterdir())


def test_what_the_exporter_refuses_is_told_in_one_sentence(
    trained, tmp_path, monkeypatch
):
    def fail(*arguments, **options):
        raise RuntimeError('a long story') from ValueError('no such operator\nat 3')

    monkeypatch.setattr(torch.jit, 'trace', fail)
    message = 'cannot be exported as TorchScript (no such operator).'
    assert_refuses(message, SCRIPT, *trained, tmp_path / 'model.pt', *SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('ending', ['.onnx', '.pt2'])
def test_an_old_pytorch_is_named(ending, monkeypatch):
    monkeypatch.setattr('mmdcls.deployment.formats.torch_is', lambda *version: False)
    with pytest.raises(MissingPackageError, match='needs PyTorch 2.6 or later, and'):
        FORMATS[ending].check_packages()
