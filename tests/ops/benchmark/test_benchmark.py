"""python -m mmdcls.ops.benchmark: it runs, and says what it measured."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.versions import needs_compile

from mmdcls.ops import backends
from mmdcls.ops.backends import choices
from mmdcls.ops.benchmark import __main__ as benchmark
from mmdcls.ops.benchmark import contenders, layers, timing
from mmdcls.ops.benchmark.table import write_choices
from mmdcls.ops.kernel import INTERPOLATIONS


@pytest.fixture(scope='module')
def report(tmp_path_factory):
    """The reports of a quick run, in a process that has no OpenMMLab package."""
    folder = tmp_path_factory.mktemp('benchmark')
    for package in ('mmengine', 'mmcv', 'mmpretrain'):
        folder.joinpath(f'{package}.py').write_text('raise ImportError(__name__)')
    arguments = ['--quick', '--device', 'cpu', '--threads', '1']
    result = subprocess.run(
        [
            *(sys.executable, '-m', 'mmdcls.ops.benchmark'),
            *(*arguments, '--out', str(folder / 'report')),
        ],
        env=os.environ | {'PYTHONPATH': os.pathsep.join([str(folder), *sys.path])},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    markdown = (folder / 'report.md').read_text()
    assert markdown in result.stdout
    return json.loads((folder / 'report.json').read_text()), markdown


def test_report_says_what_the_figures_depend_on(report):
    environment = report[0]['environment']
    assert environment['torch'] == torch.__version__
    assert environment['dtype'] == 'float32'
    assert environment['threads'] == 1
    assert environment['parity'] == 'passed'


def test_report_has_every_stage_and_its_sum(report):
    rows = report[0]['layers']
    assert {row['mode'] for row in rows} == {'inference', 'train'}
    for mode in ('inference', 'train'):
        times = {row['stage']: row for row in rows if row['mode'] == mode}
        *stages, total = times.values()
        assert len(stages) == 4 and total['stage'] == 'sum'
        for name, value in total['ms'].items():
            assert value == pytest.approx(sum(row['ms'][name] for row in stages))
        assert total['ratio']['7x7'] == pytest.approx(
            total['ms']['7x7'] / total['ms']['dcls']
        )


def test_report_compares_growth_and_construction(report):
    growth = {row['kernel_size']: row['ratio'] for row in report[0]['growth']}
    assert growth[17] == 1
    construction = [row for row in report[0]['construction'] if row['name'] == 'dcls']
    assert [row['interpolation'] for row in construction] == list(INTERPOLATIONS)
    # At least the kernels are made, of 16 channels in a quick run.
    kernels = 16 * layers.KERNEL_SIZE**2 * 4 / 2**20
    assert all(row['peak_mb'] > kernels for row in construction)


@needs_compile
def test_compiled_construction_joins_when_asked_for(monkeypatch):
    eager = functools.partial(torch.compile, backend='eager')
    monkeypatch.setattr(torch, 'compile', eager)
    settings = layers.Settings(
        torch.device('cpu'),
        torch.float32,
        batch_sizes=(1,),
        repetitions=1,
        compile=True,
        construction=(16, 4),
    )
    rows = layers.time_construction(settings)
    names = [row['name'] for row in rows if row['interpolation'] == 'triangle']
    assert names[:2] == ['dcls', 'dcls, compiled']
    assert all(row['ms'] > 0 for row in rows)


@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_released_layer_builds_the_same_kernel(interpolation):
    layer = contenders.DCLSLayer(4, 9, 5, interpolation)
    grad_kernel = torch.randn_like(layer.construct_kernel())
    ours = contenders.construction_step(layer, grad_kernel)()
    released = contenders.released_layer(layer)
    theirs = contenders.construction_step(released, grad_kernel)()
    assert len(ours) == len(theirs) == (2 if interpolation == 'bilinear' else 3)
    kernel = released.DCK(released.weight, released.P, released.SIG)
    torch.testing.assert_close(layer.construct_kernel(), kernel.reshape(4, 1, 9, 9))
    torch.testing.assert_close(ours[0], theirs[0])


def test_markdown_tables_are_complete(report):
    for block in report[1].split('\n\n'):
        lines = [line for line in block.splitlines() if line.startswith('|')]
        assert len({line.count('|') for line in lines}) <= 1
    assert report[1].count('| sum |') == 2


def test_tune_writes_a_table_that_can_be_imported(tmp_path):
    path = tmp_path / 'choices.py'
    benchmark.main(['--quick', '--tune', '--device', 'cpu', '--choices', str(path)])
    content = {}
    exec(path.read_text(), content)
    table = content['CHOICES']['cpu', 'float32']
    assert list(table) == list(backends.OPERATIONS)
    for rows in table.values():
        assert list(rows) == [7, 17]
        assert all(len(names) == len(content['MAP_SIZES']) for names in rows.values())
    others = {k: v for k, v in content['CHOICES'].items() if k[1] != 'float32'}
    assert others == {k: v for k, v in choices.CHOICES.items() if k[1] != 'float32'}


def test_committed_table_is_what_the_tool_would_write(tmp_path):
    path = tmp_path / 'choices.py'
    key, table = next(iter(choices.CHOICES.items()))
    write_choices(path, key, table)
    assert path.read_text() == Path(choices.__file__).read_text()


def test_nothing_is_timed_when_parity_fails(monkeypatch):
    aten = backends.BACKENDS['aten']
    forward = aten.forward
    monkeypatch.setattr(aten, 'forward', lambda *args: 1.01 * forward(*args))
    with pytest.raises(AssertionError, match='nothing was timed'):
        benchmark.main(['--quick', '--device', 'cpu'])


def test_peak_memory_is_that_of_the_tensors():
    def function():
        first = torch.ones(2**20)
        second = first + 1
        del first
        return second + 1

    peak = timing.peak_memory(function, torch.device('cpu'))
    assert peak == pytest.approx(2 * 4 * 2**20, rel=0.01)


def test_bandwidth_fraction_counts_compulsory_traffic():
    settings = layers.Settings(torch.device('cpu'), torch.float16, (4,))
    rates = layers.Rates(copy_bandwidth=1e9)
    row = {'stage': '96x56x56', 'batch': 4, 'mode': 'inference', 'ms': {'dcls': 10.0}}
    megabytes = 2 * 4 * 96 * 56 * 56 * 2 / 1e6
    fraction = layers.bandwidth_fraction(row, settings, rates)
    assert fraction == pytest.approx(megabytes / 10)


def test_arithmetic_fraction_counts_products_with_values_of_the_map():
    settings = layers.Settings(torch.device('cpu'), torch.float32, (2,))
    rates = layers.Rates(copy_bandwidth=1e9, product_rate=1e9)
    row = {'stage': '768x7x7', 'batch': 2, 'ms': {'dcls': 10.0}}
    ones = torch.ones(1, 1, 7, 7)
    kernel = torch.ones(1, 1, layers.KERNEL_SIZE, layers.KERNEL_SIZE)
    padding = layers.KERNEL_SIZE // 2
    products = torch.nn.functional.conv2d(ones, kernel, padding=padding).sum()
    expected = 2 * 768 * float(products) / 1e7
    fraction = layers.arithmetic_fraction(row, settings, rates)
    assert fraction == pytest.approx(expected)
