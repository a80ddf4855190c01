"""tools/robustness.py: numbers, resuming after kill -9, fingerprints, bad input."""

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image
from robustness_runs import (
    SIZE,
    arguments,
    evaluate,
    evaluate_in_child,
    mini_sets,  # noqa: F401  a fixture
    small_model,  # noqa: F401  a fixture
    write_model,
)
from tool_runs import ROOT, assert_refuses, assert_runs
from torchvision.transforms import functional

from mmdcls.analysis.robustness import ReportError, to_markdown
from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from mmdcls.datasets.imagenet_variants import CBAR_CORRUPTIONS, CBAR_SEVERITIES
from mmdcls.datasets.mini import imagenet, make_mini
from mmdcls.engine.checkpoint import CheckpointError
from mmdcls.engine.launch import ConfigError
from mmdcls.evaluation.corruption_error import ALEXNET_ERRORS

# A few cells of every kind, for tests that are not about the numbers.
FEW = dict(
    corruptions=['fog', 'contrast', 'sparkles'],
    severities=[2, 5],
    allow_missing=False,
)
FILES = ('robustness.json', 'robustness.md', 'robustness.png')


def read(path):
    return json.loads(Path(path).read_text())


def times(out):
    return {p: p.stat().st_mtime_ns for p in sorted((out / 'cells').rglob('*.json'))}


@pytest.fixture
def sets(mini_sets, tmp_path):  # noqa: F811
    """A copy of the mini sets that a test may damage."""
    shutil.copytree(mini_sets, tmp_path / 'sets')
    return tmp_path / 'sets'


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
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS

    init_default_scope('mmpretrain')
    config = Config.fromfile(model[0])
    loaded = MODELS.build(config.model)
    loaded.load_state_dict(torch.load(model[1])['state_dict'])
    return loaded.eval()


@pytest.mark.slow
def test_numbers_equal_an_independent_evaluation(mini_sets, small_model, tmp_path):  # noqa: F811
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


def test_both_layouts_of_c_bar_give_the_same(mini_sets, small_model, tmp_path):  # noqa: F811
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


def test_on_the_fly_equals_the_files(mini_sets, small_model, tmp_path):  # noqa: F811
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


# ------------------------------------------------------------------------- resuming


@pytest.mark.slow
def test_killed_runs_end_in_the_same_report(mini_sets, small_model, tmp_path):  # noqa: F811
    """Kill -9 at random moments, run again: every byte as without interruption."""
    options = dict(corruptions=[*CORRUPTIONS[:8], 'sparkles'])
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(
        ['robustness_runs', 'mmdcls.evaluation.robustness.run', 'mmpretrain.models']
    )

    def start(out):
        process = context.Process(
            target=evaluate_in_child, args=(small_model, mini_sets, out, options)
        )
        process.start()
        return process

    whole = start(tmp_path / 'whole')
    whole.join()
    assert whole.exitcode == 0
    expected = [(tmp_path / 'whole' / name).read_bytes() for name in FILES]
    count = len(times(tmp_path / 'whole'))
    assert count == 8 * 5 + 5 + 4
    generator = random.Random(0)
    seen = []
    for kill in range(4):
        process = start(tmp_path / 'killed')
        # Go on to some number of further cells, then to any moment of the next one.
        wanted = len(times(tmp_path / 'killed')) + generator.randint(1, 4)
        while process.is_alive() and len(times(tmp_path / 'killed')) < wanted:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -9, f'kill {kill} came too late'
        seen.append(times(tmp_path / 'killed'))
        for path in seen[-1]:
            json.loads(path.read_text())
    assert len(seen[0]) < len(seen[-1]) < count
    last = start(tmp_path / 'killed')
    last.join()
    # What was finished before a kill was not computed again.
    assert seen[-1].items() <= times(tmp_path / 'killed').items()
    # The work_dir is named in no report; out is.
    found = [(tmp_path / 'killed' / name).read_bytes() for name in FILES]
    assert found == expected


def change_checkpoint(model, sets):
    config, checkpoint = model
    content = torch.load(checkpoint)
    content['state_dict']['head.fc.bias'] += 1
    torch.save(content, checkpoint)


def change_config(model, sets):
    text = model[0].read_text()
    model[0].write_text(text.replace('to_rgb=True', 'to_rgb=False'))


def change_images(model, sets):
    for path in sets.glob('*/*/*/*/*.JPEG'):
        Image.new('RGB', (SIZE, SIZE)).save(path)
    for path in [*sets.glob('*/*/*.jpg'), *sets.glob('imagenet/*/*/*')]:
        Image.new('RGB', (SIZE, SIZE)).save(path)


@pytest.mark.parametrize('change', [change_checkpoint, change_config, change_images])
def test_a_change_invalidates_every_cell(sets, tmp_path, change):
    model = write_model(tmp_path / 'model')
    out = tmp_path / 'out'
    few = dict(corruptions=['fog', 'sparkles'], severities=[3])
    evaluate(model, sets, out, **few)
    before = times(out)
    evaluate(model, sets, out, **few)
    assert times(out) == before and len(before) == 2 + 4
    change(model, sets)
    report = evaluate(model, sets, out, **few)
    after = times(out)
    assert after.keys() == before.keys()
    assert all(after[path] != before[path] for path in before)
    fresh = evaluate(model, sets, tmp_path / 'fresh', **few)
    assert report.read_bytes() == fresh.read_bytes()


def test_a_changed_folder_invalidates_its_cell_only(sets, small_model, tmp_path):  # noqa: F811
    evaluate(small_model, sets, tmp_path / 'out', **FEW)
    before = times(tmp_path / 'out')
    path = next((sets / 'imagenet-c/fog/2').rglob('*.JPEG'))
    Image.new('RGB', (SIZE, SIZE)).save(path)
    evaluate(small_model, sets, tmp_path / 'out', **FEW)
    after = times(tmp_path / 'out')
    changed = {str(p.relative_to(tmp_path)) for p in before if before[p] != after[p]}
    assert changed == {'out/cells/c/fog/2.json'}


# ------------------------------------------------------------------------ bad input


def test_missing_folder_stops_before_the_first_cell(sets, small_model, tmp_path):  # noqa: F811
    shutil.rmtree(sets / 'imagenet-c/contrast/5')
    shutil.rmtree(sets / 'imagenet-r')
    with pytest.raises(ConfigError, match='2 of 10 cells have no images: c/contrast/5'):
        evaluate(small_model, sets, tmp_path / 'out', **FEW)
    assert not (tmp_path / 'out/cells').exists()
    report = evaluate(
        small_model, sets, tmp_path / 'out', **{**FEW, 'allow_missing': True}
    )
    assert read(report)['missing'] == ['c/contrast/5', 'r']
    assert read(report)['benchmarks']['c']['cells'] == 3
    text = report.with_suffix('.md').read_text()
    assert (
        '(3 of 75 cells)' in text and '2 cells had no images: c/contrast/5, r' in text
    )


def test_unreadable_images_are_counted_and_listed(sets, small_model, tmp_path):  # noqa: F811
    path = sorted((sets / 'imagenet-c/fog/2').rglob('*.JPEG'))[3]
    path.write_bytes(path.read_bytes()[:200])
    report = evaluate(small_model, sets, tmp_path / 'out', **FEW)
    result = read(report)['benchmarks']['c']['corruptions']['fog']['2']
    name = f'{path.parent.name}/{path.name}'
    assert [entry[0] for entry in result['unreadable']] == [name]
    assert result['images'] == 19
    assert f'1 images of c/fog/2 cannot be read and are not scored: {name}' in (
        report.with_suffix('.md').read_text()
    )


def test_wrong_number_of_classes(mini_sets, tmp_path):  # noqa: F811
    model = write_model(tmp_path / 'model', outputs=11)
    with pytest.raises(ConfigError, match='11 outputs, .* nor the 10 class folders'):
        evaluate(model, mini_sets, tmp_path / 'out', **FEW)


def test_thousand_outputs_need_the_thousand_classes(mini_sets, tmp_path):  # noqa: F811
    model = write_model(tmp_path / 'model', outputs=1000)
    with pytest.raises(ValueError, match='no folder for 990 of 1000 classes'):
        evaluate(model, mini_sets, tmp_path / 'out', **FEW)


def test_mask_that_matches_no_class(sets, tmp_path):
    for folder in (sets / 'imagenet/val').iterdir():
        if folder.name not in ('n02389026', 'n03791053'):
            shutil.rmtree(folder)
    model = write_model(tmp_path / 'model', outputs=2)
    with pytest.raises(ValueError, match='ImageNetA has none of the 2 classes'):
        evaluate(model, sets, tmp_path / 'out', benchmarks=['a'])


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(benchmarks=['d']), ConfigError, "has no 'd', but clean, c, cbar, a"),
        (dict(corruptions=['rain']), ConfigError, "'rain' is none of"),
        (dict(checkpoint='none.pth'), CheckpointError, "'none.pth' does not exist"),
        (dict(compare=[__file__]), ReportError, 'is no report of'),
    ],
    ids=['benchmark', 'corruption', 'checkpoint', 'compare'],
)
def test_bad_arguments(mini_sets, small_model, tmp_path, options, error, message):  # noqa: F811
    from mmdcls.evaluation.robustness.run import run

    args = arguments(small_model, mini_sets, tmp_path)
    vars(args).update(options)
    with pytest.raises(error, match=message):
        run(args)


def test_scores_that_are_not_finite_are_refused(mini_sets, tmp_path):  # noqa: F811
    model = write_model(tmp_path / 'model')
    content = torch.load(model[1])
    content['state_dict']['head.fc.bias'] += float('nan')
    torch.save(content, model[1])
    with pytest.raises(ValueError, match='are not finite'):
        evaluate(model, mini_sets, tmp_path / 'out', benchmarks=['clean'])


# ------------------------------------------------------------------ the tool, reports


@pytest.mark.slow
def test_tool_prints_the_table_and_compares(mini_sets, small_model, tmp_path):  # noqa: F811
    common = ('--data-root', mini_sets, '--severities', 3, '--corruptions', 'fog')
    other = evaluate(small_model, mini_sets, tmp_path / 'other', name='other', **FEW)
    output = assert_runs(
        *('robustness.py', *small_model, *common, '--device', 'cpu', '--batch-size', 3),
        *('--benchmarks', 'clean', 'c', '--out', tmp_path / 'out', '--name', 'mine'),
        *('--work-dir', tmp_path / 'work', '--compare', other),
    )
    assert '| mine | – / ' in output and '| other | – / ' in output
    assert '| ConvNeXt-dcls-T (paper) | 5.0 / 28.6 | 82.5 | 41.5 | 39.7 |' in output
    for name in FILES:
        assert (tmp_path / 'out' / name).stat().st_size > 0
    shutil.rmtree(tmp_path / 'out')
    assert_refuses(
        "this config has no 'x'",
        *('robustness.py', *small_model, '--benchmarks', 'x'),
        *('--work-dir', tmp_path / 'work'),
    )


@pytest.mark.slow
def test_two_processes_give_the_same_report(mini_sets, small_model, tmp_path):  # noqa: F811
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
    from mmengine.registry import MODELS, init_default_scope

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


def test_resnet50_of_the_paper_is_an_mce():
    facts = dict(task='classification', model='m', parameters=1e6, on_the_fly=False)
    text = to_markdown([dict(facts, benchmarks={}, missing=[])])
    row = next(line for line in text.splitlines() if 'ResNet-50' in line)
    assert row.endswith('| 76.1 | – | 57.7 | 0.0 | 36.1 | 24.1 | 76.7 | – |')
