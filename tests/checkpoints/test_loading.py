"""Weights to start from fit the model, or the user is told."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmpretrain.models.backbones import ConvNeXt, ResNet

from mmdcls.checkpoints import CheckpointError, check_weights, with_prefix
from mmdcls.models import ConvNeXtBaseline, ConvNeXtDCLS, ResNetDCLS

SMALL = dict(depths=[1, 1, 2, 1], channels=[4, 8, 12, 16])
LARGER = dict(depths=[1, 1, 4, 1], channels=[4, 8, 12, 16])


def convnext_dcls(arch=SMALL, kernel_count=5, **kwargs):
    return ConvNeXtDCLS(
        arch, dilated_kernel_size=7, kernel_count=kernel_count, **kwargs
    )


def save(backbone, path, prefix='backbone.'):
    state_dict = {f'{prefix}{n}': t for n, t in backbone.state_dict().items()}
    torch.save({'state_dict': state_dict}, path)
    return str(path)


def pretrained(path, **kwargs):
    return dict(type='Pretrained', checkpoint=path, prefix='backbone.', **kwargs)


@pytest.fixture
def log(capsys, tmp_path):
    """Read what was logged, as one line."""
    MMLogger.get_instance(tmp_path.name)

    def read():
        captured = capsys.readouterr()
        return ' '.join((captured.out + captured.err).split())

    return read


def test_fitting_weights_are_loaded_and_counted(tmp_path, log):
    trained = convnext_dcls()
    path = save(trained, tmp_path / 'a.pth')
    backbone = convnext_dcls(init_cfg=pretrained(path))
    backbone.init_weights()
    count = len(trained.state_dict())
    assert f'{count} of {count} tensors of the ConvNeXtDCLS are loaded' in log()
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name]), name


def test_what_a_classifier_does_not_have_is_listed(tmp_path, log):
    """The norms of the other stages, which downstream models have."""
    path = save(convnext_dcls(), tmp_path / 'a.pth')
    backbone = convnext_dcls(out_indices=(0, 1, 2, 3), init_cfg=pretrained(path))
    backbone.init_weights()
    message = log()
    assert 'not in the file: norm0.weight, norm0.bias, norm1.weight' in message


@pytest.mark.parametrize(
    'other, advice',
    [
        (lambda: ResNet(18), 'none of the'),
        (lambda: convnext_dcls(kernel_count=6), 'another shape'),
        (
            lambda: convnext_dcls(dict(depths=[1] * 4, channels=[6, 8, 12, 16])),
            'another shape',
        ),
        (lambda: ConvNeXt(SMALL), 'official_to_mmdcls.py --from-convnext converts'),
    ],
    ids=['ResNet', 'kernel count', 'channels', 'plain ConvNeXt'],
)
def test_weights_of_another_model_are_refused(tmp_path, other, advice):
    path = save(other(), tmp_path / 'other.pth')
    backbone = convnext_dcls(init_cfg=pretrained(path))
    with pytest.raises(CheckpointError, match=r'other\.pth') as error:
        backbone.init_weights()
    assert advice in str(error.value)


@pytest.mark.parametrize(
    'file, model, message',
    [(SMALL, LARGER, 'lacks 8 layers'), (LARGER, SMALL, 'has 8 layers that the model')],
)
def test_another_depth_is_refused(tmp_path, file, model, message):
    path = save(convnext_dcls(file), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=message):
        convnext_dcls(model, init_cfg=pretrained(path)).init_weights()


def test_another_depth_is_told_where_it_is_accepted(tmp_path, log):
    path = save(convnext_dcls(), tmp_path / 'a.pth')
    init_cfg = pretrained(path, allow_mismatch=True)
    convnext_dcls(LARGER, init_cfg=init_cfg).init_weights()
    assert 'not in the file: stages.2.2.gamma' in log()


def test_resnet_dcls_refuses_a_plain_resnet(tmp_path):
    path = save(ResNet(18), tmp_path / 'plain.pth')
    with pytest.raises(CheckpointError, match='of another shape'):
        ResNetDCLS(18, init_cfg=pretrained(path)).init_weights()


def test_baselines_are_guarded(tmp_path):
    path = save(ConvNeXt(SMALL), tmp_path / 'plain.pth')
    with pytest.raises(CheckpointError, match='depthwise_conv.weight'):
        ConvNeXtBaseline(
            SMALL, kernel_size=17, init_cfg=pretrained(path)
        ).init_weights()


def test_released_names_are_told_to_be_converted(tmp_path):
    torch.save(
        {'model': {}, 'state_dict': {'stages.0.0.dwconv.weight': torch.ones(4, 1, 5)}},
        tmp_path / 'a.pth',
    )
    backbone = convnext_dcls(init_cfg=pretrained(str(tmp_path / 'a.pth')))
    with pytest.raises(CheckpointError, match='convert it with tools/model_conv'):
        backbone.init_weights()


def test_allow_mismatch_loads_what_fits(tmp_path, log):
    trained = convnext_dcls(kernel_count=6)
    path = save(trained, tmp_path / 'a.pth')
    backbone = convnext_dcls(init_cfg=pretrained(path, allow_mismatch=True))
    backbone.init_weights()
    assert 'of another shape: ' in log()
    name = 'stages.0.0.pointwise_conv1.weight'
    assert torch.equal(backbone.state_dict()[name], trained.state_dict()[name])


def test_allow_mismatch_does_not_accept_nothing(tmp_path):
    path = save(ResNet(18), tmp_path / 'a.pth')
    backbone = convnext_dcls(init_cfg=pretrained(path, allow_mismatch=True))
    with pytest.raises(CheckpointError, match='none of the'):
        backbone.init_weights()


def test_counters_of_batch_norms_may_be_missing(log):
    norm = torch.nn.BatchNorm2d(2)
    found = {n: t for n, t in norm.state_dict().items() if 'num_batches' not in n}
    check_weights(norm.state_dict(), found, 'a.pth', 'norm')
    assert '4 of 4 tensors of the norm' in log()


def test_a_prefix_without_tensors_is_refused():
    with pytest.raises(CheckpointError, match=r"'backbone\.\*'.* begin with encoder"):
        with_prefix({'encoder.a': torch.ones(1)}, 'backbone', 'a.pth')
