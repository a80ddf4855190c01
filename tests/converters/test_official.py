import argparse
import copy
from pathlib import Path

import pytest
import torch
from helpers.conversions import TOLERANCE, build, convert, images, load_ours, save
from helpers.official_configs import ROOT, mini_config, write_mini_config
from helpers.official_models import SIZES, layouts, make, names_and_shapes
from mmengine.config import Config
from safetensors.torch import save_file

from mmdcls.checkpoints.reading import CheckpointError, read_checkpoint
from mmdcls.converters import mmdcls_to_official, official_to_mmdcls, write_checkpoint
from mmdcls.converters.reference_models import SCOPE_OF_TASK, build_on_meta
from mmdcls.models import ConvNeXtDCLS

TASKS = list(SCOPE_OF_TASK)


@pytest.fixture
def configs(tmp_path):
    """Writes the mini config of a task and returns its path."""
    return lambda task: write_mini_config(task, tmp_path)


@pytest.mark.parametrize('layout', layouts({}))
def test_classifier_of_each_layout_gives_equal_outputs(layout, tmp_path, configs):
    official = make('cls')
    content = layouts(official.state_dict())[layout]
    conversion = convert(content, tmp_path, config=configs('cls'))
    ours = load_ours(conversion, 'cls', tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(images()), official.double()(images()), **TOLERANCE
        )


def test_segmentor_gives_equal_logits(tmp_path, configs):
    official = make('seg')
    content = {'state_dict': official.state_dict()}
    conversion = convert(content, tmp_path, config=configs('seg'), task='seg')
    ours = load_ours(conversion, 'seg', tmp_path)
    with torch.no_grad():
        features = ours.extract_feat(images())
        actual = ours.decode_head(features), ours.auxiliary_head(features)
        torch.testing.assert_close(actual, official.double()(images()), **TOLERANCE)


def test_detector_gives_equal_outputs_of_every_head(tmp_path, configs):
    official = make('det')
    content = {'state_dict': official.state_dict()}
    conversion = convert(content, tmp_path, config=configs('det'))
    ours = load_ours(conversion, 'det', tmp_path)
    official = official.double()
    rois = torch.randn(3, 6, 14, 14, dtype=torch.float64)
    pooled = rois[..., ::2, ::2].contiguous()
    with torch.no_grad():
        levels = official.neck(official.backbone(images()))
        torch.testing.assert_close(
            list(ours.extract_feat(images())), levels, **TOLERANCE
        )
        torch.testing.assert_close(
            list(ours.rpn_head(levels)), list(official.rpn_head(levels)), **TOLERANCE
        )
        for stage in range(3):
            for name, x in (('bbox_head', pooled), ('mask_head', rois)):
                actual = getattr(ours.roi_head, name)[stage](x)
                expected = getattr(official.roi_head, name)[stage](x)
                torch.testing.assert_close(actual, expected, **TOLERANCE)


@pytest.mark.parametrize('size', ['tiny', 'small', 'base'])
@pytest.mark.parametrize('task', TASKS)
def test_released_sizes_are_recognised_and_come_back(task, size, tmp_path):
    state_dict = names_and_shapes(task, size)
    conversion = convert({'state_dict': state_dict}, tmp_path)
    assert (conversion.task, conversion.checkpoint.layout) == (task, 'state_dict')
    assert f'dcls {size}, {SIZES[size].count} elements' in (
        conversion.reference.description
    )
    blocks = sum(SIZES[size].depths)
    assert sum('positions' in name for name in conversion.state_dict) == blocks
    assert conversion.positions.tensors == 4
    write_checkpoint(conversion.content, tmp_path / 'ours.pth')
    back = mmdcls_to_official(tmp_path / 'ours.pth')
    back.check()
    assert {name: tensor.shape for name, tensor in back.state_dict.items()} == {
        name: tensor.shape for name, tensor in state_dict.items()
    }


def shipped_configs():
    """The configs of the models that the authors released, in every crop size."""
    patterns = {
        'cls': 'imagenet/convnext-dcls-{size}_*.py',
        'seg': 'ade20k/upernet_convnext-dcls-{size}_*.py',
        'det': 'coco/cascade-mask-rcnn_convnext-dcls-{size}_*.py',
    }
    for task, pattern in patterns.items():
        for size in ('tiny', 'small', 'base'):
            paths = sorted((ROOT / 'configs').glob(pattern.format(size=size)))
            assert paths, f'no config for {task}, {size}'
            for path in paths:
                yield pytest.param(path, task, id=path.stem)


@pytest.mark.parametrize('path, task', list(shipped_configs()))
def test_released_models_load_strictly_into_our_configs(path, task, tmp_path):
    cfg = Config.fromfile(path)
    state_dict = names_and_shapes(task, cfg.model.backbone.arch)
    conversion = convert({'model': state_dict}, tmp_path)
    model = build_on_meta(cfg.model, cfg.default_scope)
    model.load_state_dict(conversion.state_dict, strict=True, assign=True)


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_round_trip_is_the_identity_bit_for_bit(task, dtype, tmp_path, configs):
    official = make(task).to(dtype).state_dict()
    for name, tensor in official.items():
        if name.endswith('.P'):
            tensor.clamp_(-8, 8)
    meta = {'CLASSES': ('a', 'b'), 'PALETTE': [[1, 2, 3], [4, 5, 6]], 'seed': 3}
    there = convert(
        {'meta': meta, 'state_dict': official}, tmp_path, config=configs(task)
    )
    write_checkpoint(there.content, tmp_path / 'ours.pth')
    back = mmdcls_to_official(tmp_path / 'ours.pth', config=configs(task))
    back.check()
    write_checkpoint(back.content, tmp_path / 'back.pth')
    content = read_checkpoint(tmp_path / 'back.pth')
    returned = content['model' if task == 'cls' else 'state_dict']
    assert list(returned) == list(official)
    for name, tensor in official.items():
        assert returned[name].dtype == tensor.dtype
        assert torch.equal(returned[name], tensor), name
    if task != 'cls':
        assert content['meta'] == meta


def test_round_trip_from_our_side(tmp_path, configs):
    model = build(mini_config('seg'))
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'ours.pth')
    there = mmdcls_to_official(tmp_path / 'ours.pth', config=configs('seg'))
    back = convert(there.content, tmp_path, config=configs('seg'))
    assert list(back.state_dict) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict[name], tensor), name


def test_positions_that_differ_within_a_stage_are_named(tmp_path, configs):
    official = copy.deepcopy(make('cls', share=False)).state_dict()
    path = save(official, tmp_path)
    with pytest.raises(CheckpointError, match='`no_share`') as error:
        official_to_mmdcls(path, config=configs('cls'), clamp=True)
    named = {f'stages.{i}.1.dwconv.P' for i in (1, 2)}
    assert {word.strip("',;") for word in str(error.value).split() if '.P' in word} == (
        named
    )
    conversion = official_to_mmdcls(
        path, config=configs('cls'), share_positions=False, clamp=True
    )
    conversion.check()
    assert conversion.positions.tensors == 6
    for name in named:
        new = f'backbone.{name.replace("dwconv.P", "depthwise_conv.positions")}'
        assert torch.equal(conversion.state_dict[new], official[name].clamp(-8, 8))


def test_weights_that_are_not_averaged_on_request(tmp_path, configs):
    official = make('cls').state_dict()
    path = save(layouts(official)['model_ema'], tmp_path)
    for prefer_ema, shift in ((True, 0), (False, 1)):
        conversion = official_to_mmdcls(
            path, config=configs('cls'), prefer_ema=prefer_ema, clamp=True
        )
        torch.testing.assert_close(
            conversion.state_dict['head.fc.bias'], official['head.bias'] + shift
        )


def test_safetensors(tmp_path, configs):
    official = {name: t.clone() for name, t in make('cls').state_dict().items()}
    save_file(official, tmp_path / 'official.safetensors')
    conversion = official_to_mmdcls(
        tmp_path / 'official.safetensors', config=configs('cls'), clamp=True
    )
    conversion.check()
    assert conversion.checkpoint.layout == 'bare'


def test_training_checkpoint_with_its_command_line(tmp_path, configs):
    content = {
        'model': make('cls').state_dict(),
        'args': argparse.Namespace(batch_size=64, output_dir='there'),
        'epoch': 299,
    }
    convert(content, tmp_path, config=configs('cls'))


def test_class_names_go_with_the_checkpoint(tmp_path):
    content = {'state_dict': names_and_shapes('seg', 'tiny')}
    meta = convert(content, tmp_path).content['meta']['dataset_meta']
    assert len(meta['classes']) == len(meta['palette']) == 150
    assert meta['classes'][0] == 'wall'


def test_initialises_downstream_backbones(tmp_path, configs):
    classifier = make('cls').state_dict()
    conversion = convert(classifier, tmp_path, config=configs('cls'))
    write_checkpoint(conversion.content, tmp_path / 'ours.pth')
    backbone = ConvNeXtDCLS(
        dict(depths=SIZES['mini'].depths, channels=SIZES['mini'].dims),
        kernel_count=SIZES['mini'].count,
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        init_cfg=dict(
            type='Pretrained',
            checkpoint=str(tmp_path / 'ours.pth'),
            prefix='backbone.',
        ),
    )
    backbone.init_weights()
    loaded = backbone.state_dict()
    expected = conversion.state_dict
    for name, tensor in loaded.items():
        if not name.startswith(('norm0', 'norm1', 'norm2')):
            assert torch.equal(tensor, expected[f'backbone.{name}']), name


def with_value(state_dict, name, value):
    return {**state_dict, name: value}


def nan_in(state_dict):
    value = state_dict['stages.0.0.norm.weight'].clone()
    value[1] = float('nan')
    return with_value(state_dict, 'stages.0.0.norm.weight', value)


def without(state_dict, name):
    return {key: value for key, value in state_dict.items() if key != name}


BAD_CLASSIFIERS = {
    'nan': (nan_in, r"NaN or infinite in 'stages\.0\.0\.norm\.weight'"),
    'missing': (
        lambda s: without(s, 'stages.1.1.gamma'),
        r"there is no 'backbone\.stages\.1\.1\.gamma' \(1 missing, 0 unexpected",
    ),
    'unexpected': (
        lambda s: with_value(s, 'stages.0.0.se.weight', torch.zeros(1)),
        r"the model has no 'stages\.0\.0\.se\.weight' \(0 missing, 1 unexpected",
    ),
    'another shape': (
        lambda s: with_value(s, 'head.bias', torch.zeros(9)),
        r"'head\.bias' is \(9,\) in the file and \(7,\) in the model "
        r'\(0 missing, 0 unexp.*1 of',
    ),
    'no tensor': (
        lambda s: with_value(s, 'head.bias', 'text'),
        r"'head\.bias' is of type str",
    ),
    'same name twice': (
        lambda s: with_value(s, 'stages.0.0.depthwise_conv.bias', torch.zeros(4)),
        r"'stages\.0\.0\.dwconv\.bias' and 'stages\.0\.0\.depthwise_conv\.bias' of",
    ),
    'ours': (
        lambda s: {'backbone.stages.0.0.depthwise_conv.positions': torch.zeros(2)},
        'needs no conversion',
    ),
    'plain ConvNeXt': (
        lambda s: {k: v for k, v in s.items() if not k.endswith('.P')},
        'plain ConvNeXt, without positions .*--from-convnext',
    ),
    'another architecture': (
        lambda s: {'conv1.weight': torch.zeros(64, 3, 7, 7)},
        r"another architecture than ConvNeXt-dcls: it has 'conv1\.weight'",
    ),
    'unknown prefix': (
        lambda s: {f'student.{k}': v for k, v in s.items()},
        r"for no known task: .*; all names in the file begin with 'student\.'",
    ),
    'empty': (lambda s: {}, 'holds no tensors'),
}


@pytest.mark.parametrize('how', BAD_CLASSIFIERS)
def test_bad_classifier_is_refused(how, tmp_path, configs):
    spoil, message = BAD_CLASSIFIERS[how]
    content = {'model': spoil(dict(make('cls').state_dict()))}
    with pytest.raises(CheckpointError, match=message):
        convert(content, tmp_path, config=configs('cls'))


@pytest.mark.parametrize('depths_of, count', [('tiny', 40), ('small', 34)])
def test_kernel_count_of_another_variant_is_refused(depths_of, count, tmp_path):
    state_dict = {
        name: tensor[..., :1].expand(*tensor.shape[:-1], count)
        if name.endswith(('dwconv.P', 'dwconv.weight'))
        else tensor
        for name, tensor in names_and_shapes('cls', depths_of).items()
    }
    released = SIZES[depths_of].count
    message = (
        rf'{depths_of} with {count} elements a kernel.*released one has {released}'
    )
    with pytest.raises(CheckpointError, match=message):
        convert(state_dict, tmp_path)


def test_config_of_another_variant_is_refused(tmp_path):
    config = next(Path(ROOT, 'configs/ade20k').glob('*convnext-dcls-tiny*.py'))
    content = {'state_dict': names_and_shapes('seg', 'small')}
    with pytest.raises(
        CheckpointError, match=r'40\) in the file and .*34\).*unexpected'
    ):
        convert(content, tmp_path, config=config)


def test_unknown_size_needs_a_config(tmp_path):
    with pytest.raises(CheckpointError, match=r'depths \[1, 2, 2, 1\].*`config`'):
        convert(make('cls').state_dict(), tmp_path)


@pytest.mark.parametrize('task, wrong', [('cls', 'seg'), ('seg', 'det')])
def test_wrong_task_is_refused(task, wrong, tmp_path, configs):
    path = save(make(task).state_dict(), tmp_path)
    with pytest.raises(CheckpointError, match=f'`task`={wrong}: .* holds a '):
        official_to_mmdcls(path, wrong)
    with pytest.raises(CheckpointError, match='default_scope'):
        official_to_mmdcls(path, config=configs(wrong))


def test_the_way_back_refuses_what_is_not_ours(tmp_path):
    path = save(make('cls').state_dict(), tmp_path)
    with pytest.raises(CheckpointError, match="authors' names already"):
        mmdcls_to_official(path)
    path = save({'backbone.stem.weight': torch.zeros(1)}, tmp_path)
    with pytest.raises(CheckpointError, match='no checkpoint of mmdcls'):
        mmdcls_to_official(path)
