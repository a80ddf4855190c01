"""A run's cells: resumed after kill -9, fingerprinted, and what is refused."""

import json
import multiprocessing
import random
import shutil
import time

import pytest
import torch
from helpers.robustness_runs import (
    FEW,
    FILES,
    SIZE,
    evaluate,
    evaluate_in_child,
    read,
    times,
    write_model,
)
from mmengine.device import get_device
from mmengine.runner import autocast
from PIL import Image
from torch.nn.modules.module import register_module_forward_hook

from mmdcls.checkpoints.reading import CheckpointError
from mmdcls.compat import autocast_dtype
from mmdcls.datasets.corruptions import CORRUPTIONS
from mmdcls.errors import ConfigError
from mmdcls.files import OverwritingError
from mmdcls.robustness.report import ReportError

# ------------------------------------------------------------------------- resuming


@pytest.mark.slow
def test_killed_runs_end_in_the_same_report(mini_sets, small_model, tmp_path):
    """Kill -9 at random moments, run again: every byte as without interruption."""
    options = dict(corruptions=[*CORRUPTIONS[:8], 'sparkles'])
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(
        ['robustness_runs', 'mmdcls.robustness.run', 'mmpretrain.models']
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


def test_parts_of_a_sweep_end_in_one_report(mini_sets, small_model, tmp_path):
    """As machines without a network between them divide it."""
    severities = dict(severities=[2, 5])
    parts = [
        dict(benchmarks=['c'], corruptions=['fog']),
        dict(benchmarks=['c'], corruptions=['contrast']),
        dict(benchmarks=['cbar', 'clean'], corruptions=['sparkles']),
    ]
    for part in parts:
        evaluate(small_model, mini_sets, tmp_path / 'parts', **part, **severities)
    done = times(tmp_path / 'parts')
    whole = dict(
        benchmarks=['c', 'cbar', 'clean'], corruptions=['fog', 'contrast', 'sparkles']
    )
    report = evaluate(small_model, mini_sets, tmp_path / 'parts', **whole, **severities)
    # Nothing was computed again.
    assert times(tmp_path / 'parts') == done
    alone = evaluate(small_model, mini_sets, tmp_path / 'alone', **whole, **severities)
    assert read(report)['benchmarks'] == read(alone)['benchmarks']


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


def test_a_changed_folder_invalidates_its_cell_only(sets, small_model, tmp_path):
    evaluate(small_model, sets, tmp_path / 'out', **FEW)
    before = times(tmp_path / 'out')
    path = next((sets / 'imagenet-c/fog/2').rglob('*.JPEG'))
    Image.new('RGB', (SIZE, SIZE)).save(path)
    evaluate(small_model, sets, tmp_path / 'out', **FEW)
    after = times(tmp_path / 'out')
    changed = {str(p.relative_to(tmp_path)) for p in before if before[p] != after[p]}
    assert changed == {'out/cells/c/fog/2.json'}


# ---------------------------------------------------------------- mixed precision


def test_amp_works_on_any_device_and_has_cells_of_its_own(
    mini_sets,
    small_model,
    tmp_path,
):
    few = dict(benchmarks=['clean'])
    evaluate(small_model, mini_sets, tmp_path / 'out', **few)
    before = times(tmp_path / 'out')
    dtypes = set()
    handle = register_module_forward_hook(
        lambda module, args, output: dtypes.add(getattr(output, 'dtype', None))
    )
    report = evaluate(small_model, mini_sets, tmp_path / 'out', amp=True, **few)
    handle.remove()
    # float16 on a GPU, bfloat16 on a CPU.
    with autocast():
        assert autocast_dtype(get_device()) in dtypes
    after = times(tmp_path / 'out')
    assert after.keys() == before.keys() and after != before
    assert read(report)['amp']
    evaluate(small_model, mini_sets, tmp_path / 'out', amp=True, **few)
    assert times(tmp_path / 'out') == after


# ------------------------------------------------------------------------ bad input


def test_missing_folder_stops_before_the_first_cell(sets, small_model, tmp_path):
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


def test_unreadable_images_are_counted_and_listed(sets, small_model, tmp_path):
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


def test_wrong_number_of_classes(mini_sets, tmp_path):
    model = write_model(tmp_path / 'model', outputs=11)
    with pytest.raises(ConfigError, match='11 outputs, .* nor the 10 class folders'):
        evaluate(model, mini_sets, tmp_path / 'out', **FEW)


def test_thousand_outputs_need_the_thousand_classes(mini_sets, tmp_path):
    model = write_model(tmp_path / 'model', outputs=1000)
    with pytest.raises(ValueError, match='no image of 990 of 1000 classes'):
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
def test_bad_arguments(mini_sets, small_model, tmp_path, options, error, message):
    config, checkpoint = small_model
    model = config, options.pop('checkpoint', checkpoint)
    with pytest.raises(error, match=message):
        evaluate(model, mini_sets, tmp_path, **options)


def test_scores_that_are_not_finite_are_refused(mini_sets, tmp_path):
    model = write_model(tmp_path / 'model')
    content = torch.load(model[1])
    # Finite itself, and its products are not.
    content['state_dict']['head.fc.weight'].fill_(3e38)
    torch.save(content, model[1])
    with pytest.raises(ValueError, match='are not finite'):
        evaluate(model, mini_sets, tmp_path / 'out', benchmarks=['clean'])


def test_reports_that_are_read_are_not_written_over(mini_sets, small_model, tmp_path):
    few = dict(benchmarks=['clean'], work_dir=str(tmp_path / 'work_dir'))
    path = evaluate(small_model, mini_sets, tmp_path, **few)
    report = path.read_bytes()
    for out, compare in ((tmp_path, [str(path)]), (mini_sets / 'imagenet/val/x', [])):
        with pytest.raises(OverwritingError, match='which is to be read|is the same'):
            evaluate(small_model, mini_sets, out, **few, compare=compare)
    assert path.read_bytes() == report
