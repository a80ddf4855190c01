"""No tool writes over what it reads: it refuses, and all files are as they were."""

import hashlib

import pytest
from helpers.tool_runs import assert_refuses
from PIL import Image

CONFIG = """
default_scope = 'mmseg'
model = dict(type='EncoderDecoder')
test_pipeline = [dict(type='LoadImageFromFile')]
test_dataloader = dict(dataset=dict(
    type='ADE20KDataset', data_root='{data}', pipeline=test_pipeline,
    data_prefix=dict(img_path='images', seg_map_path='labels')))
test_evaluator = dict(type='IoUMetric')
default_hooks = dict(visualization=dict(type='SegVisualizationHook'))
visualizer = dict(type='SegLocalVisualizer')
"""
SAME, INSIDE = 'is the same and is to be read', 'which is to be read'

CASES = {
    'predict': (
        'predict.py config.py model.pth data/images --out-dir data/images',
        'lies',
    ),
    'demo, file': (
        'predict.py config.py model.pth data/images/a.jpg --out-dir linked',
        'lies',
    ),
    'predict, link': (
        'predict.py config.py model.pth away --out-dir data/images',
        'lies',
    ),
    'test, labels': ('test.py config.py model.pth --out data/labels', SAME),
    'test, pictures': (
        'test.py config.py model.pth --show-dir data/images/drawn',
        INSIDE,
    ),
    'test, pickle': ('test.py config.py model.pkl --out model.pkl', SAME),
    'draw': (
        'analysis_tools/draw_predictions.py config.py model.pth data/images/a.jpg',
        INSIDE,
    ),
    'check': ('check_dataset.py config.py --splits test --out config.py', SAME),
    'benchmark': (
        'analysis_tools/benchmark.py config.py other.py --out other.py',
        SAME,
    ),
    'fold': (
        'model_converters/fold.py config.py model.pth link.pth',
        SAME,
    ),
    'official_to_mmdcls': (
        'model_converters/official_to_mmdcls.py model.pth hard.pth',
        SAME,
    ),
    'mmdcls_to_official': (
        'model_converters/mmdcls_to_official.py model.pth model.pth',
        SAME,
    ),
    'export': ('deployment/export.py config.py model.pt model.pt', SAME),
    'corrupt': ('dataset_converters/corrupt_imagenet.py data data/images/c', INSIDE),
    'mini robustness': (
        'dataset_converters/make_mini_robustness.py --source data --target data',
        SAME,
    ),
    'positions': (
        'analysis_tools/plot_positions.py run --out run/1/vis_data/scalars.json',
        SAME,
    ),
    'paper, throughput': (
        'analysis_tools/paper_tables.py --no-count --throughput t.json --json t.json',
        SAME,
    ),
    'paper, run': (
        'analysis_tools/paper_tables.py --no-count --work-dirs . '
        '--json run/1/1.json',
        SAME,
    ),
    'paper, document': (
        'analysis_tools/paper_tables.py --no-count --update page.md --json page.md',
        SAME,
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """All that the commands name; ``linked`` and ``away`` are or hold links."""
    data = tmp_path / 'data'
    for name in ('images', 'labels'):
        (data / name).mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(data / 'images' / 'a.jpg')
    Image.new('L', (8, 8)).save(data / 'labels' / 'a.png')
    for name in ('config.py', 'other.py'):
        (tmp_path / name).write_text(CONFIG.format(data=data))
    for name in ('model.pth', 'model.pkl', 'model.pt', 't.json', 'page.md'):
        (tmp_path / name).write_text('content')
    (tmp_path / 'run/1/vis_data').mkdir(parents=True)
    (tmp_path / 'run/1/1.json').write_text('{}')
    (tmp_path / 'run/1/vis_data/scalars.json').write_text('{}')
    (tmp_path / 'link.pth').symlink_to(tmp_path / 'model.pth')
    (tmp_path / 'hard.pth').hardlink_to(tmp_path / 'model.pth')
    (tmp_path / 'linked').symlink_to(data / 'images')
    (tmp_path / 'away').mkdir()
    (tmp_path / 'away' / 'b.jpg').symlink_to(data / 'images' / 'a.jpg')
    return tmp_path


def content(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.mark.parametrize('case', CASES)
def test_inputs_are_not_written_over(case, folder):
    command, message = CASES[case]
    script, *arguments = command.split()
    before = content(folder)
    arguments = [
        argument if argument.startswith('--') or argument == 'test' else
        folder / argument
        for argument in arguments
    ]  # fmt: skip
    assert_refuses(message, script, *arguments)
    assert content(folder) == before
