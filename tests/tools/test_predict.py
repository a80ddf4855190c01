import json
import shutil

import pytest
import torch
from helpers.tool_runs import ROOT, assert_refuses, assert_runs, run_tool
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from skimage import data, io

CONFIG = ROOT / 'configs/mini/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py'


@pytest.fixture
def folder(tmp_path):
    """One image; beside its folder there is ``a.pth`` for ``CONFIG``."""
    cfg = Config.fromfile(CONFIG)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'a.pth')
    folder = tmp_path / 'images'
    folder.mkdir()
    io.imsave(folder / 'cup.png', data.coffee()[::4, ::4])
    return folder


def test_writes_pictures_and_json(folder, tmp_path):
    out = tmp_path / 'new' / 'out'
    shutil.copy(folder / 'cup.png', tmp_path / 'cup.png')
    images = (folder, tmp_path / 'cup.png')
    printed = assert_runs(
        'predict.py', CONFIG, tmp_path / 'a.pth', *images, '--out-dir', out
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


def test_goes_on_past_what_is_no_image_and_tells_it(folder, tmp_path):
    for name in ('broken.jpg', '._cup.png', '.DS_Store', 'Thumbs.db'):
        (folder / name).write_bytes(b'no image')
    (folder / 'empty.png').touch()
    out = folder / 'out'
    process = run_tool(
        'predict.py', CONFIG, tmp_path / 'a.pth', folder, '--out-dir', out
    )
    assert process.returncode == 1
    assert {path.name for path in out.iterdir()} == {
        'cup.png',
        'cup.json',
        'cup_labels.png',
    }
    *_, broken, empty, last = process.stderr.strip().splitlines()
    sentence = "'{}' cannot be read as an image: {}.".format
    assert broken == sentence(folder / 'broken.jpg', 'its format is unknown')
    assert empty == sentence(folder / 'empty.png', 'the file is empty')
    assert last == 'error: 2 of 3 images cannot be read; the others are done.'


def test_second_run_does_not_take_drawings_for_images(folder, tmp_path):
    out = folder / 'out'
    out.mkdir()
    (out / 'cup.png').write_text('drawn by the first run')
    # As a shell writes `images/*`.
    assert_refuses(
        'name another folder',
        *(
            'predict.py',
            CONFIG,
            tmp_path / 'a.pth',
            *folder.iterdir(),
            '--out-dir',
            out,
        ),
    )
    assert (out / 'cup.png').read_text() == 'drawn by the first run'


def test_missing_image_ends_in_one_sentence(tmp_path):
    assert_refuses(
        "absent.png' does not exist",
        'predict.py',
        CONFIG,
        tmp_path / 'a.pth',
        tmp_path / 'absent.png',
        '--out-dir',
        tmp_path / 'out',
    )
    assert not (tmp_path / 'out').exists()
