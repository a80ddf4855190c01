"""tools/robustness.py: its numbers, its report, several processes, other tasks."""

import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.robustness_runs import (
    FEW,
    FILES,
    SIZE,
    evaluate,
    read,
    times,
)
from helpers.tool_runs import ROOT, assert_refuses, assert_runs
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from torchvision.transforms import functional

from mmdcls.analysis.complexity import complexity_of_config
from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from mmdcls.datasets.imagenet_variants import CBAR_CORRUPTIONS, CBAR_SEVERITIES
from mmdcls.evaluation.corruption_error import ALEXNET_ERRORS
from mmdcls.robustness.report import to_markdown
from mmdcls.testing import imagenet, make_mini

# -------------------------------------------------------------------------- numbers


def accuracy(model, folder, among=None, resize=True):
    """Top-1 accuracy in percent, written independently of mmdcls.evaluation."""
    wordnet_ids = sorted(imagenet.CLASSES)
    among = [w for w in wordnet_ids if among is None or w in among]
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    paths, images = sorted(Path(folder).glob('n*/*')), []
    for path in paths:
        image = Image.open(path).convert('RGB')
        if resize:
            short = round(SIZE * 256 / 224)
            image = functional.resize(
                image, short, functional.InterpolationMode.BICUBIC
            )
        image = functional.center_crop(image, SIZE)
        images.append((functional.pil_to_tensor(image).float() - mean) / std)
    right = []
    for path, logits in zip(
        paths, model(torch.stack(images), mode='tensor'), strict=True
    ):
        scores = {w: logits[wordnet_ids.index(w)].item() for w in among}
        right.append(max(scores, key=scores.get) == path.parent.name)
    return 100 * sum(right) / len(right)


def load(model):
    init_default_scope('mmpretrain')
    config = Config.fromfile(model[0])
    loaded = MODELS.build(config.model)
    loaded.load_state_dict(torch.load(model[1])['state_dict'])
    return loaded.eval()


@pytest.mark.slow
def test_numbers_equal_an_independent_evaluation(mini_sets, small_model, tmp_path):
    report = read(evaluate(small_model, mini_sets, tmp_path, extra=True))
    found = report['benchmarks']
    model = load(small_model)
    with torch.no_grad():
        in_a = {'n02980441', 'n03196217'}
        in_r = {'n02123045', 'n02980441', 'n03773504', 'n04266014', 'n07920052'}
        expected = dict(
            clean=accuracy(model, mini_sets / 'imagenet/val'),
            a=accuracy(model, mini_sets / 'imagenet-a', in_a),
            r=accuracy(model, mini_sets / 'imagenet-r', in_r),
            sketch=accuracy(model, mini_sets / 'imagenet-sketch'),
        )
        errors = {
            (name, s): 100 - accuracy(model, folder / name / str(s), resize=False)
            for folder, names in (
                (mini_sets / 'imagenet-c', CORRUPTIONS + EXTRA_CORRUPTIONS),
                (mini_sets / 'imagenet-c-bar', CBAR_CORRUPTIONS),
            )
            for name in names
            for s in range(1, 6)
        }
    assert {name: found[name]['top1'] for name in expected} == pytest.approx(expected)
    for benchmark in ('c', 'c_extra', 'cbar'):
        for name, severities in found[benchmark]['corruptions'].items():
            for severity, result in severities.items():
                assert 100 - result['top1'] == pytest.approx(
                    errors[name, int(severity)]
                )
                assert result['images'] == 20 and result['unreadable'] == []
    per_corruption = {
        name: sum(errors[name, s] for s in range(1, 6)) / 5
        for name in CORRUPTIONS + CBAR_CORRUPTIONS
    }
    mean = {
        'c': sum(per_corruption[name] for name in CORRUPTIONS) / 15,
        'cbar': sum(per_corruption[name] for name in CBAR_CORRUPTIONS) / 10,
    }
    mce = sum(per_corruption[n] / ALEXNET_ERRORS[n] for n in CORRUPTIONS) / 15 * 100
    relative = (
        sum(
            (per_corruption[n] - 100 + expected['clean']) / (ALEXNET_ERRORS[n] - 43.5)
            for n in CORRUPTIONS
        )
        / 15
        * 100
    )
    assert found['c']['mean_error'] == pytest.approx(mean['c'])
    assert found['cbar']['mean_error'] == pytest.approx(mean['cbar'])
    assert found['c']['mCE'] == pytest.approx(mce)
    assert found['c']['relative_mCE'] == pytest.approx(relative)
    assert 'mean_error' not in found['c_extra'] and found['c']['cells'] == 75
    # A model of random weights, but one whose predictions differ between the cells.
    assert len(set(errors.values())) > 3


@pytest.mark.slow
def test_a_config_of_mmpretrain_with_1000_classes(tmp_path):
    """ImageNet-A and R, one image a class, against timm's own list of outputs."""
    config = tmp_path / 'config.py'
    config.write_text(
        "_base_ = 'mmpretrain::shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py'\n"
        'test_dataloader = dict(num_workers=0, persistent_workers=False)\n'
        'robustness = dict(image_count=None)\n'
    )
    rng = np.random.default_rng(0)
    indices = {}
    for name in ('a', 'r'):
        info = files('timm.data') / '_info'
        text = (info / f'imagenet_{name}_indices.txt').read_text()
        indices[name] = [int(line) for line in text.split()]
        synsets = (info / f'imagenet_{name}_synsets.txt').read_text().split()
        for wnid in synsets:
            path = tmp_path / f'imagenet-{name}/{wnid}/0.jpg'
            path.parent.mkdir(parents=True)
            pixels = rng.integers(0, 255, (4, 4, 3), np.uint8)
            Image.fromarray(pixels).resize((224, 224)).save(path)
    cfg = Config.fromfile(config)
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    # Statistics of images of this kind, so that the predictions differ.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    model.train()(torch.randn(16, 3, 64, 64), mode='tensor')
    torch.nn.init.normal_(model.head.fc.weight)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'model.pth')
    report = evaluate(
        (config, tmp_path / 'model.pth'),
        *(tmp_path, tmp_path / 'out'),
        benchmarks=['a', 'r'],
        batch_size=50,
    )
    found = read(report)['benchmarks']
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    model.eval()
    for name in ('a', 'r'):
        ranks = []
        for place, path in enumerate(sorted(tmp_path.glob(f'imagenet-{name}/*/*'))):
            image = functional.resize(Image.open(path), 256)
            image = functional.pil_to_tensor(functional.center_crop(image, 224))
            with torch.no_grad():
                scores = model(((image - mean) / std)[None], mode='tensor')[0]
            order = scores[indices[name]].argsort(descending=True).tolist()
            ranks.append(order.index(place))
        assert len(set(ranks)) > 20
        for k in (1, 5):
            share = 100 * sum(rank < k for rank in ranks) / 200
            assert found[name][f'top{k}'] == pytest.approx(share)
        assert found[name]['top5'] > 0


def test_both_layouts_of_c_bar_give_the_same(mini_sets, small_model, tmp_path):
    options = dict(benchmarks=['cbar'], corruptions=['perlin_noise'])
    config, checkpoint = small_model
    generated = 'robustness = dict(folders=dict(cbar="imagenet-c-bar-generated"))'
    other = tmp_path / 'generated.py'
    other.write_text(config.read_text() + generated)
    results = [
        read(evaluate(model, mini_sets, tmp_path / str(i), **options))['benchmarks']
        for i, model in enumerate([small_model, (other, checkpoint)])
    ]
    assert results[0] == results[1]
    assert results[0]['cbar']['cells'] == 5
    assert CBAR_SEVERITIES['perlin_noise'][0] == 4.6


def test_on_the_fly_equals_the_files(mini_sets, small_model, tmp_path):
    options = dict(benchmarks=['c'], corruptions=['frost', 'shot_noise'])
    results = [
        read(
            evaluate(
                small_model, mini_sets, tmp_path / str(fly), on_the_fly=fly, **options
            )
        )
        for fly in (False, True)
    ]
    assert results[0]['benchmarks'] == results[1]['benchmarks']
    assert 'on the fly' in to_markdown([results[1]])


# ------------------------------------------------------------------ the tool, reports


@pytest.mark.slow
def test_tool_prints_the_table_and_compares(mini_sets, small_model, tmp_path):
    common = ('--data-root', mini_sets, '--severities', 3, '--corruptions', 'fog')
    other = evaluate(small_model, mini_sets, tmp_path / 'other', name='other', **FEW)
    output = assert_runs(
        *('robustness.py', *small_model, *common, '--device', 'cpu', '--batch-size', 3),
        *('--benchmarks', 'clean', 'c', '--out', tmp_path / 'out', '--name', 'mine'),
        *('--work-dir', tmp_path / 'work', '--compare', other),
    )
    report = read(tmp_path / 'out/robustness.json')
    counted = complexity_of_config(Config.fromfile(small_model[0]), (SIZE, SIZE))
    assert (report['flops'], report['parameters']) == (
        counted.flops,
        counted.parameters,
    )
    size = f'{counted.flops / 1e9:.1f} / {counted.parameters / 1e6:.1f}'
    assert f'| mine | {size} |' in output and f'| other | {size} |' in output
    assert '| ConvNeXt-dcls-T (paper) | 5.0 / 28.6 | 82.5 | 41.5 | 39.7 |' in output
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {*FILES, 'cells'}
    assert (tmp_path / 'out/robustness.md').read_text() in output
    with Image.open(tmp_path / 'out/robustness.png') as plot:
        assert min(plot.size) > 300 and len(plot.convert('L').getcolors()) > 20
    shutil.rmtree(tmp_path / 'out')
    assert_refuses(
        "this config has no 'x'",
        *('robustness.py', *small_model, '--benchmarks', 'x'),
        *('--work-dir', tmp_path / 'work'),
    )


@pytest.mark.slow
def test_two_processes_give_the_same_report(mini_sets, small_model, tmp_path):
    few = dict(benchmarks=['clean', 'c', 'a'], corruptions=['fog'], severities=[1, 4])
    alone = evaluate(small_model, mini_sets, tmp_path / 'alone', **few)
    arguments = ['--data-root', mini_sets, '--benchmarks', 'clean', 'c', 'a']
    arguments += ['--corruptions', 'fog', '--severities', 1, 4, '--name', 'small']
    arguments += ['--out', tmp_path / 'two', '--work-dir', tmp_path / 'work']
    process = subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2'),
            *('--master-port=29517', 'tools/robustness.py', '--launcher', 'pytorch'),
            *('--device', 'cpu', '--batch-size', '3'),
            *map(str, [*small_model, *arguments]),
        ],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    two = read(tmp_path / 'two/robustness.json')
    assert two['benchmarks'] == read(alone)['benchmarks']


# ------------------------------------------------------- segmentation and detection


def write_untrained(config, folder):
    """A checkpoint of a config's model as it is before training."""
    cfg = Config.fromfile(ROOT / config)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save({'state_dict': model.state_dict()}, folder / 'model.pth')
    return ROOT / config, folder / 'model.pth'


@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'name', 'folder', 'score'),
    [
        (
            'configs/mini/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py',
            *('ade20k', 'ADEChallengeData2016', 'mIoU'),
        ),
        (
            'configs/mini/cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py',
            *('coco', 'coco', 'coco/bbox_mAP'),
        ),
    ],
    ids=['segmentation', 'detection'],
)
def test_other_tasks_under_corruption(tmp_path, config, name, folder, score):
    make_mini(tmp_path, [name], train=2, val=2)
    model = write_untrained(config, tmp_path)
    options = dict(
        corruptions=['contrast', 'fog'],
        severities=[5],
        batch_size=1,
        cfg_options={
            'test_dataloader.num_workers': 0,
            # An untrained detector is sure of nothing.
            'model.test_cfg': dict(rcnn=dict(score_thr=0.0)),
        },
    )
    report = evaluate(model, tmp_path / folder, tmp_path / 'out', **options)
    found = read(report)['benchmarks']
    values = [
        found['c']['corruptions'][corruption]['5'][score]
        for corruption in ('contrast', 'fog')
    ]
    assert found['c']['mPC'][score] == pytest.approx(sum(values) / 2)
    assert found['c']['cells'] == 2 and score in found['clean']
    assert score in report.with_suffix('.md').read_text()
    if score == 'mIoU':
        # The corruption reached the model.
        assert found['clean']['aAcc'] != found['c']['corruptions']['fog']['5']['aAcc']
    before = times(tmp_path / 'out')
    evaluate(model, tmp_path / folder, tmp_path / 'out', **options)
    assert times(tmp_path / 'out') == before and len(before) == 3
    shutil.rmtree(tmp_path / 'out/cells')
    victim = sorted(
        (tmp_path / folder).glob('*/*val*/*.jpg' if score == 'mIoU' else 'val*/*.jpg')
    )[0]
    victim.write_bytes(victim.read_bytes()[:500])
    with pytest.raises(
        ValueError, match=f'1 of .* images cannot be read: .*{victim.name}'
    ):
        evaluate(model, tmp_path / folder, tmp_path / 'out', **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason='works on a GPU')
@pytest.mark.parametrize('script', ['robustness.py', 'test.py'])
def test_amp_of_a_detector_needs_a_gpu(small_model, script):
    config = 'configs/mini/cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py'
    assert_refuses('detection needs a GPU', script, config, small_model[1], '--amp')


def test_resnet50_of_the_paper_is_an_mce():
    facts = dict(task='classification', model='m', parameters=1e6, flops=None)
    text = to_markdown([dict(facts, benchmarks={}, missing=[], on_the_fly=False)])
    assert '| m | – / 1.0 |' in text
    row = next(line for line in text.splitlines() if 'ResNet-50' in line)
    assert row.endswith('| 76.1 | – | 57.7 | 0.0 | 36.1 | 24.1 | 76.7 | – |')
