"""Pictures of predictions: what is in each panel, and in which colours."""

import numpy as np
import pytest
from helpers.tool_runs import ROOT
from mmengine.visualization import Visualizer
from mmseg.datasets import ADE20KDataset
from PIL import Image

from mmdcls.analysis import pictures
from mmdcls.apis.launch import build_runner, load_config
from mmdcls.testing import make_mini

CONFIGS = {
    'ade20k': (
        'upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py',
        'ADEChallengeData2016',
        'images/validation/*.jpg',
    ),
    'coco': (
        'cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py',
        'coco',
        'val2017/*.jpg',
    ),
}


@pytest.mark.parametrize('name', list(CONFIGS))
def test_panels(name, tmp_path, monkeypatch):
    config, folder, images = CONFIGS[name]
    make_mini(tmp_path, [name], train=2, val=2)
    cfg = load_config(
        str(ROOT / 'configs/mini' / config),
        data_root=str(tmp_path / folder),
        work_dir=str(tmp_path / 'run'),
    )
    Visualizer._instance_dict.clear()
    runner = build_runner(cfg, partial_checkpoint=False)
    figures = []
    monkeypatch.setattr(
        pictures, 'save_figure', lambda figure, _: figures.append(figure)
    )
    pictures.draw_predictions(runner, tmp_path / 'a.png', count=2)

    axes = np.array(figures[0].axes).reshape(2, 3)
    assert [axis.get_title() for axis in axes[0]] == [
        'input',
        'ground truth',
        'prediction',
    ]
    differences = []
    for row, path in zip(axes, sorted((tmp_path / folder).glob(images)), strict=True):
        shown, truth, _ = (axis.images[0].get_array().astype(float) for axis in row)
        expected = np.asarray(Image.open(path).convert('RGB')).astype(float)
        # JPEG decoders differ by a little.
        assert np.abs(shown - expected).mean() < 2
        differences.append(np.abs(truth - shown).mean())
        if name == 'ade20k':
            truth = without_overlay(truth, path)
        # The colours of the image are in their order, in the drawings too.
        away = np.abs(truth - expected).mean()
        assert away < np.abs(truth - expected[..., ::-1]).mean()
    assert max(differences) > 1


def without_overlay(drawn, path):
    """Undo what mmseg does: four fifths of a pixel are the colour of its label."""
    labels = np.asarray(
        Image.open(str(path).replace('images', 'annotations').replace('.jpg', '.png'))
    )
    palette = np.array([[0, 0, 0], *ADE20KDataset.METAINFO['palette']])
    return (drawn - 0.8 * palette[labels]) / 0.2
