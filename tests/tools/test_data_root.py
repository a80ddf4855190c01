"""Every tool that reads data refuses a ``--data-root`` that cannot be meant."""

import pytest
from helpers.tool_runs import ROOT, assert_refuses
from mmengine.config import Config

MINI = 'configs/mini'
SEGMENTATION = f'{MINI}/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py'
DETECTION = f'{MINI}/cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py'
CLASSIFICATION = f'{MINI}/convnext-dcls-atto_1xb32-mini_in1k-64px.py'

TOOLS = [
    ('train.py', SEGMENTATION),
    ('test.py', DETECTION, 'absent.pth'),
    ('check_dataset.py', CLASSIFICATION),
    ('robustness.py', CLASSIFICATION, 'absent.pth'),
    ('robustness.py', SEGMENTATION, 'absent.pth'),
    ('analysis_tools/draw_predictions.py', DETECTION, 'absent.pth', 'absent.png'),
]


@pytest.mark.parametrize('tool', TOOLS, ids=lambda tool: '-'.join(tool[0].split('/')))
def test_absent_folder(tool, tmp_path):
    folder = tmp_path / 'absent'
    message = f"--data-root: the folder '{folder}' does not exist"
    assert_refuses(message, *tool, '--data-root', folder)


@pytest.mark.parametrize('tool', [TOOLS[1], TOOLS[4]], ids=['test.py', 'robustness.py'])
def test_concatenation_of_two_folders(tool, tmp_path):
    cfg = Config.fromfile(ROOT / tool[1])
    part = cfg.test_dataloader.dataset
    parts = [part, dict(part, data_root='other')]
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
    config = tmp_path / 'two.py'
    cfg.dump(config)
    checkpoint = tmp_path / 'a.pth'
    checkpoint.write_bytes(b'not read')
    arguments = (checkpoint, '--data-root', tmp_path)
    assert_refuses("data_root='other'", tool[0], config, *arguments)
