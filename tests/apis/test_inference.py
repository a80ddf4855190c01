import json

import mmcv
import numpy as np
import pytest
import torch
from helpers.official_configs import ROOT
from mmengine.config import Config
from skimage import data

from mmdcls.apis.inference import find_images, make_inferencer, name_results, predict
from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.datasets.loading import UnreadableImageError
from mmdcls.errors import ConfigError

CLASSIFIER = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True),
    backbone=dict(type='mmdcls.ConvNeXtDCLS', arch='atto', kernel_count=3),
    head=dict(type='LinearClsHead', num_classes=4, in_channels=320),
)
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackInputs'),
]
MINI = {
    'mmseg': 'upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py',
    'mmdet': 'cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py',
}
SCOPES = ['mmpretrain', *MINI]


def load_config(scope):
    if scope != 'mmpretrain':
        return Config.fromfile(ROOT / 'configs/mini' / MINI[scope])
    dataset = dict(
        type='CustomDataset', metainfo=dict(classes=('a', 'b', 'c')), pipeline=PIPELINE
    )
    return Config(
        dict(
            default_scope=scope,
            model=CLASSIFIER,
            test_dataloader=dict(dataset=dataset),
        )
    )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Configs and fitting checkpoints by scope, and a folder of two images."""
    from mmengine.registry import MODELS, DefaultScope

    folder = tmp_path_factory.mktemp('trained')
    files = {}
    for scope in SCOPES:
        cfg = load_config(scope)
        if scope == 'mmdet':
            # Fresh weights give low scores; without a threshold there are instances.
            cfg.model.test_cfg.rcnn.score_thr = 0.0
            cfg.model.test_cfg.rcnn.max_per_img = 3
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope(scope):
            model = MODELS.build(cfg.model)
        files[scope] = folder / f'{scope}.py', folder / f'{scope}.pth'
        cfg.dump(files[scope][0])
        torch.save({'state_dict': model.state_dict()}, files[scope][1])
    images = folder / 'images'
    images.mkdir()
    for name, image in (('b.jpg', data.astronaut()), ('a.png', data.coffee())):
        mmcv.imwrite(np.ascontiguousarray(image[:150:2, :190:2, ::-1]), images / name)
    (images / 'notes.txt').write_text('no image')
    return files, images


def numbers(prediction):
    """The numbers in what an inferencer predicts for one image."""
    if isinstance(prediction, dict):
        keys = ('pred_scores', 'labels', 'scores', 'bboxes')
        return [np.asarray(prediction[key]) for key in keys if key in prediction]
    return [np.asarray(prediction)]


def predictions(result):
    if isinstance(result, dict):
        result = result['predictions']
    return result if isinstance(result, list) else [result]


@pytest.mark.parametrize('scope', SCOPES)
def test_file_folder_and_array_are_predicted_alike(scope, trained):
    files, images = trained
    inferencer = make_inferencer(*files[scope])
    paths = find_images([images])
    (one,) = predictions(inferencer(str(paths[0])))
    (array,) = predictions(inferencer(mmcv.imread(str(paths[0]))))
    (images / 'notes.txt').unlink(missing_ok=True)  # mmpretrain reads every file.
    folder = predictions(inferencer(str(images)))
    assert len(folder) == 2
    candidates = [numbers(prediction) for prediction in folder]
    for expected, actual in zip(numbers(one), numbers(array), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert any(
        all(np.array_equal(a, b) for a, b in zip(numbers(one), other, strict=True))
        for other in candidates
    )


@pytest.mark.parametrize('scope', SCOPES)
def test_writes_a_picture_and_json(scope, trained, tmp_path):
    files, images = trained
    inferencer = make_inferencer(*files[scope])
    result = predict(inferencer, images / 'b.jpg', tmp_path, 'x')
    assert json.loads((tmp_path / 'x.json').read_text()) == result
    assert mmcv.imread(str(tmp_path / 'x.png')).ndim == 3
    expected = {'x.json', 'x.png'} | ({'x_labels.png'} if scope == 'mmseg' else set())
    assert {path.name for path in tmp_path.iterdir()} == expected
    if scope == 'mmpretrain':
        assert len(result['classes']) == 4
        assert sum(entry['score'] for entry in result['classes']) == pytest.approx(1)
        # The config names only three of the four classes.
        names = {entry['label']: entry['class'] for entry in result['classes']}
        assert names == {0: 'a', 1: 'b', 2: 'c', 3: '3'}
    elif scope == 'mmseg':
        labels = mmcv.imread(str(tmp_path / 'x_labels.png'), flag='unchanged')
        best = result['classes'][0]
        assert (labels == best['label']).mean() == pytest.approx(best['share'])
        assert inferencer.model.dataset_meta['classes'][0] == 'wall'
    else:
        assert len(result['instances']) == 3
        for instance in result['instances']:
            assert set(instance) == {'label', 'class', 'score', 'box', 'mask'}


def test_another_models_checkpoint_is_refused(trained):
    files, _ = trained
    with pytest.raises(CheckpointError, match='does not fit the model of'):
        make_inferencer(files['mmseg'][0], files['mmdet'][1])


@pytest.mark.parametrize('content', [b'no image', b''])
def test_unreadable_image_is_named_and_nothing_is_written(content, trained, tmp_path):
    files, _ = trained
    (tmp_path / 'broken.png').write_bytes(content)
    out = tmp_path / 'out'
    out.mkdir()
    inferencer = make_inferencer(*files['mmseg'])
    with pytest.raises(UnreadableImageError, match=r"broken\.png' cannot be read"):
        predict(inferencer, tmp_path / 'broken.png', out, 'broken')
    assert not list(out.iterdir())


def test_images_are_found_in_order(tmp_path):
    for name in ('b.PNG', 'a.jpg', 'c.txt', '._a.jpg', '.DS_Store', 'Thumbs.db'):
        (tmp_path / name).touch()
    (tmp_path / 'empty').mkdir()
    found = find_images([tmp_path / 'b.PNG', tmp_path])
    assert [path.name for path in found] == ['b.PNG', 'a.jpg', 'b.PNG']
    for path, message in (
        ('c.txt', 'is no image'),
        ('absent.png', 'does not exist'),
        ('empty', 'no images in it'),
    ):
        with pytest.raises(ConfigError, match=message):
            find_images([tmp_path / path])


def test_results_have_names_of_their_own(tmp_path):
    folders = tmp_path / 'a', tmp_path / 'b'
    names = ('x.jpg', 'x_labels.jpg', 'x.png', 'y.png')
    images = [folder / name for folder in folders for name in names]
    chosen = name_results(images, tmp_path)
    pictures = [f'{name}{end}' for name in chosen for end in ('.png', '_labels.png')]
    assert len(set(pictures)) == 16
    assert chosen[:4] == ['x', 'x_labels-2', 'x-2', 'y']


def test_config_without_a_known_scope_is_refused(tmp_path, trained):
    files, _ = trained
    (tmp_path / 'a.py').write_text("default_scope = 'other'")
    with pytest.raises(ConfigError, match="default_scope='other'"):
        make_inferencer(tmp_path / 'a.py', files['mmseg'][1])
    with pytest.raises(ConfigError, match='does not exist'):
        make_inferencer(tmp_path / 'b.py', files['mmseg'][1])
