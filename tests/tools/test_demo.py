import json
import shutil

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from skimage import data, io
from tool_runs import ROOT, assert_refuses, assert_runs

CONFIG = ROOT / 'configs/mini/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py'


def test_writes_pictures_and_json(tmp_path):
    cfg = Config.fromfile(CONFIG)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'a.pth')
    folder, out = tmp_path / 'images', tmp_path / 'new' / 'out'
    folder.mkdir()
    io.imsave(folder / 'cup.png', data.coffee()[::4, ::4])
    shutil.copy(folder / 'cup.png', tmp_path / 'cup.png')
    images = (folder, tmp_path / 'cup.png')
    printed = assert_runs(
        'demo.py', CONFIG, tmp_path / 'a.pth', *images, '--out-dir', out
    )
    assert {path.name for path in out.iterdir()} == {
        f'{name}{ending}'
        for name in ('cup', 'cup-2')
        for ending in ('.png', '.json', '_labels.png')
    }
    first, second = (
        json.loads((out / f'{name}.json').read_text()) for name in ('cup', 'cup-2')
    )
    assert str(out / 'cup-2.png') in printed
    assert first['image'] == str(folder / 'cup.png')
    assert first['classes'] == second['classes']
    assert sum(entry['share'] for entry in first['classes']) > 0.999


def test_missing_image_ends_in_one_sentence(tmp_path):
    assert_refuses(
        "absent.png' does not exist",
        'demo.py',
        CONFIG,
        tmp_path / 'a.pth',
        tmp_path / 'absent.png',
        '--out-dir',
        tmp_path / 'out',
    )
    assert not (tmp_path / 'out').exists()
