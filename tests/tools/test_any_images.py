"""Any image that people bring: every tool that evaluates sees the same picture."""

import json
import pickle
import runpy
import shutil
import sys

import numpy as np
import pytest
from helpers.any_channels import write_any_channels_model
from helpers.odd_images import DAMAGED, WHOLE, write_odd_images
from helpers.robustness_runs import evaluate, read
from helpers.tool_runs import ROOT, assert_refuses

from mmdcls.apis.inference import make_inferencer, predict
from mmdcls.datasets.loading import UnreadableImageError
from mmdcls.errors import ConfigError

CLASSES = ('apple', 'pear')


def write_classes(root, channels):
    """``<root>/imagenet/val/<class>/*``, every kind of image in both classes."""
    folder = root / 'imagenet/val'
    for name in CLASSES:
        images = write_odd_images(
            folder / name, size=(80, 60) if name == 'pear' else (50, 60)
        )
        for path in images.values():
            # Loaded as it is, only an image with transparency has four channels.
            if path.name in DAMAGED or (channels == 4 and path.name != 'rgba.png'):
                path.unlink()
    return folder


def run_test_tool(monkeypatch, *arguments):
    with monkeypatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, 'argv', ['test.py', *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_tools_predict_alike(channels, tmp_path, monkeypatch):
    folder = write_classes(tmp_path / 'data', channels)
    config, checkpoint, _ = write_any_channels_model(
        tmp_path / 'model', channels, data_prefix=folder
    )
    out = tmp_path / 'predictions.pkl'
    common = ('--work-dir', tmp_path / 'work', '--device', 'cpu')
    run_test_tool(monkeypatch, config, checkpoint, '--out', out, *common)
    predictions = {p['img_path']: p for p in pickle.loads(out.read_bytes())}
    assert len(predictions) == 2 * (1 if channels == 4 else len(WHOLE))
    right = [int(p['pred_label']) == int(p['gt_label']) for p in predictions.values()]

    report = read(
        evaluate(
            (config, checkpoint),
            tmp_path / 'data',
            tmp_path / 'out',
            benchmarks=['clean'],
        )
    )
    found = report['benchmarks']['clean']
    assert found['top1'] == pytest.approx(100 * np.mean(right))
    assert found['images'] == len(predictions) and found['unreadable'] == []
    assert report['outputs'] == str(folder)

    inferencer = make_inferencer(config, checkpoint)
    for path, prediction in predictions.items():
        result = predict(inferencer, path, tmp_path, 'picture')
        scores = {entry['label']: entry['score'] for entry in result['classes']}
        expected = dict(enumerate(prediction['pred_score'].tolist()))
        assert scores == pytest.approx(expected, abs=1e-6), path


@pytest.mark.parametrize('name', DAMAGED)
def test_tools_name_what_is_no_whole_image(name, tmp_path):
    folder = write_classes(tmp_path / 'data', 3)
    write_odd_images(tmp_path / 'odd')
    config, checkpoint, _ = write_any_channels_model(
        tmp_path / 'model', 3, data_prefix=folder
    )
    shutil.copy(tmp_path / 'odd' / name, folder / 'pear' / name)
    common = ('--work-dir', tmp_path / 'work', '--device', 'cpu')
    sentence = (
        f"1 of {2 * len(WHOLE) + 1} images cannot be read: '{folder}/pear/{name}'"
    )
    assert_refuses(sentence, 'test.py', config, checkpoint, *common)
    inferencer = make_inferencer(config, checkpoint)
    message = f"{name}' cannot be read as an image: "
    with pytest.raises(UnreadableImageError, match=message):
        predict(inferencer, folder / 'pear' / name, tmp_path, 'picture')
    report = evaluate(
        (config, checkpoint), tmp_path / 'data', tmp_path / 'out', benchmarks=['clean']
    )
    found = read(report)['benchmarks']['clean']
    assert [path for path, _ in found['unreadable']] == [f'pear/{name}']
    assert found['images'] == 2 * len(WHOLE)


@pytest.mark.parametrize('channels', [1, 4])
def test_only_colour_images_are_corrupted(channels, tmp_path):
    folder = write_classes(tmp_path / 'data', channels)
    model = write_any_channels_model(tmp_path / 'model', channels, data_prefix=folder)
    with pytest.raises(ConfigError, match=f'takes images of {channels} channels, and'):
        evaluate(
            model[:2],
            tmp_path / 'data',
            tmp_path / 'out',
            benchmarks=['clean', 'c'],
            on_the_fly=True,
        )
    assert not (tmp_path / 'out/cells').exists()


def test_images_of_another_number_of_channels_are_named(tmp_path):
    folder = write_classes(tmp_path / 'data', 3)
    model = write_any_channels_model(tmp_path / 'model', 4, data_prefix=folder)
    message = r"loads '.*/apple/cmyk\.jpg' with 3 channels, and the model takes 4\."
    with pytest.raises(ConfigError, match=message):
        evaluate(model[:2], tmp_path / 'data', tmp_path / 'out', benchmarks=['clean'])
    assert not (tmp_path / 'out/cells').exists()


def test_empty_classes_are_reported(tmp_path):
    folder = write_classes(tmp_path / 'data', 3)
    (folder / 'quince').mkdir()
    model = write_any_channels_model(tmp_path / 'model', 3, classes=3)[:2]
    arguments = (model, tmp_path / 'data', tmp_path / 'out')
    with pytest.raises(ValueError, match=r'no image of 1 of 3 classes \(quince\)'):
        evaluate(*arguments, benchmarks=['clean'])
    report = evaluate(
        *arguments,
        benchmarks=['clean'],
        cfg_options={'robustness.image_count': None},
    )
    assert read(report)['benchmarks']['clean']['empty_classes'] == 1
    text = report.with_suffix('.md').read_text()
    assert 'small: 1 classes have no image in clean.' in text
    assert f"class folders of '{folder}' in alphabetical order" in text


def test_thousand_classes_of_ones_own_are_not_imagenets(tmp_path):
    folder = tmp_path / 'data/imagenet/val'
    for i in range(1000):
        (folder / f'c{i:03}').mkdir(parents=True)
    images = write_odd_images(tmp_path / 'odd')
    shutil.copy(images['rgb.png'], folder / 'c007/rgb.png')
    model = write_any_channels_model(tmp_path / 'model', 3, classes=1000)[:2]
    report = evaluate(
        model,
        tmp_path / 'data',
        tmp_path / 'out',
        benchmarks=['clean'],
        cfg_options={'robustness.image_count': None},
    )
    assert read(report)['outputs'] == str(folder)
    assert read(report)['benchmarks']['clean']['empty_classes'] == 999
    assert json.loads(report.read_text())['benchmarks']['clean']['images'] == 1
