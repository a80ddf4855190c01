import pytest
import torch
from helpers.official_configs import mini_config, write_mini_config
from helpers.official_models import SIZES, make
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models import ConvNeXt

from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.converters import convnext_to_mmdcls

ARCH = dict(depths=list(SIZES['mini'].depths), channels=list(SIZES['mini'].dims))


@pytest.fixture
def config(tmp_path):
    return write_mini_config('cls', tmp_path)


def official_classifier():
    """A classifier with the names of ConvNeXt's own repository."""
    state_dict = dict(make('cls').state_dict())
    for name in list(state_dict):
        if name.endswith('dwconv.P'):
            del state_dict[name]
        elif name.endswith('dwconv.weight'):
            state_dict[name] = torch.randn(state_dict[name].shape[0], 1, 7, 7)
    return state_dict


def mmpretrain_classifier():
    state_dict = {f'backbone.{k}': v for k, v in ConvNeXt(ARCH).state_dict().items()}
    head = {'head.fc.weight': torch.randn(7, 10), 'head.fc.bias': torch.randn(7)}
    return {**state_dict, **head}


def convert(content, tmp_path, **kwargs):
    torch.save(content, tmp_path / 'plain.pth')
    conversion = convnext_to_mmdcls(tmp_path / 'plain.pth', **kwargs)
    conversion.check()
    return conversion


@pytest.mark.parametrize(
    'content',
    [{'model': official_classifier()}, {'state_dict': mmpretrain_classifier()}],
    ids=['official', 'mmpretrain'],
)
def test_all_but_the_depthwise_convolutions_is_kept(content, tmp_path, config):
    conversion = convert(content, tmp_path, config=config)
    (source,) = content.values()
    cfg = mini_config('cls')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
    model.load_state_dict(conversion.state_dict, strict=True)
    for name, tensor in conversion.state_dict.items():
        is_depthwise = '.depthwise_conv.' in name
        assert (name in conversion.fresh) == is_depthwise
        if not is_depthwise:
            assert torch.equal(tensor, source[conversion.old_names[name]]), name
    assert len(conversion.dropped) == 2 * 6
    assert len(conversion.fresh) == 3 * 6


def test_fresh_layers_are_those_of_a_new_model(tmp_path, config):
    convert_with = {'content': {'model': official_classifier()}, 'tmp_path': tmp_path}
    state_dict = convert(**convert_with, config=config, seed=1).state_dict
    weights = torch.cat([t.flatten() for n, t in state_dict.items() if is_weight(n)])
    # The truncated normal of ConvNeXt's training, not PyTorch's wider default.
    assert 0.01 < weights.std() < 0.03
    first = 'backbone.stages.1.{}.depthwise_conv.positions'
    assert torch.equal(state_dict[first.format(0)], state_dict[first.format(1)])
    again = convert(**convert_with, config=config, seed=1).state_dict
    other = convert(**convert_with, config=config, seed=2).state_dict
    assert torch.equal(again[first.format(0)], state_dict[first.format(0)])
    assert not torch.equal(other[first.format(0)], state_dict[first.format(0)])


def is_weight(name):
    return name.endswith('depthwise_conv.weight')


def test_backbone_without_a_classifier(tmp_path, config):
    content = {
        name: tensor
        for name, tensor in mmpretrain_classifier().items()
        if not name.startswith('head.')
    }
    conversion = convert(content, tmp_path, config=config)
    assert not any(name.startswith('head.') for name in conversion.state_dict)


@pytest.mark.parametrize(
    'content, message',
    [
        (make('cls').state_dict(), 'has positions already'),
        ({'stem.0.weight': torch.zeros(4, 3, 4, 4)}, 'is no ConvNeXt of its authors'),
        (
            {'backbone.stages.0.0.dwconv.weight': torch.zeros(4, 1, 7, 7)}
            | {'decode_head.conv_seg.weight': torch.zeros(7, 6, 1, 1)},
            'holds a segmentation model',
        ),
        (
            {k: v for k, v in official_classifier().items() if k != 'norm.bias'},
            r"there is no 'backbone\.norm3\.bias'",
        ),
    ],
    ids=['dcls', 'timm', 'segmentation', 'incomplete'],
)
def test_other_files_are_refused(content, message, tmp_path, config):
    with pytest.raises(CheckpointError, match=message):
        convert(content, tmp_path, config=config)
