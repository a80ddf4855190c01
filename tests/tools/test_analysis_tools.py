"""tools/analysis_tools, as a user calls them, on the smallest of inputs."""

import json
import runpy
import sys

import pytest
from helpers.engine_runs import run
from helpers.tool_runs import ROOT, assert_refuses, run_tool

TINY = 'configs/imagenet/convnext-dcls-tiny_32xb128_in1k.py'
MINI_CONVNEXT = 'configs/mini/convnext-dcls-atto_1xb32-mini_in1k-64px.py'
MINI_RESNET = 'configs/mini/resnet18-dcls_1xb32-mini_in1k-64px.py'


def report_of(script, *arguments):
    """Standard output of a tool that must succeed: the report and nothing else."""
    process = run_tool(f'analysis_tools/{script}', *arguments)
    assert process.returncode == 0, process.stderr[-4000:]
    return process.stdout


def table(report):
    """Rows of the first Markdown table, by their first cell."""
    lines = [line for line in report.splitlines() if line.startswith('|')]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def test_get_flops_prints_a_row_of_table_2():
    report = report_of('get_flops.py', TINY)
    assert 'Parameters: 28.6 M' in report
    assert 'FLOPs:      5.0 G multiply-accumulates' in report


def test_get_flops_prints_json_alone_and_takes_a_shape():
    shape = ['--shape', 64, 96]
    result = json.loads(report_of('get_flops.py', MINI_CONVNEXT, '--json', *shape))
    assert result['shape'] == [64, 96]
    assert result['parameters'] > 1e6 and result['flops'] > 1e6


def test_benchmark_prints_a_table_and_writes_every_round(tmp_path):
    out = tmp_path / 'a' / 'benchmark.json'
    report = report_of(
        *('benchmark.py', MINI_CONVNEXT, MINI_RESNET, '--batch-size', 2),
        *('--shape', 64, 64, '--rounds', 2, '--iterations', 1, '--channels-last'),
        *('--device', 'cpu', '--out', out),
    )
    content = json.loads(out.read_text())
    rows = table(report)
    assert set(rows) == {'inference', 'training'}
    first, second = content['contenders']
    assert first['config'] == 'convnext-dcls-atto_1xb32-mini_in1k-64px'
    assert len(second['rounds']['training']) == 2
    for mode, prefix in (('inference', ''), ('training', 'training_')):
        medians = [c[f'{prefix}images_per_second'] for c in (first, second)]
        ratio = content['ratios'][mode]['ratio']
        assert ratio == pytest.approx(medians[1] / medians[0])
        assert rows[mode]['first, images/s'] == f'{medians[0]:.2f}'
        assert rows[mode]['second / first'] == f'{ratio:.3f}'
    assert '- channels_last: True' in report and '- batch size: 2' in report


def test_benchmark_compares_before_and_after_deployment(tmp_path):
    out = tmp_path / 'benchmark.json'
    report = report_of(
        *('benchmark.py', MINI_RESNET, '--deploy', '--onnx', '--batch-size', 1),
        *('--shape', 64, 64, '--rounds', 2, '--iterations', 1, '--device', 'cpu'),
        *('--out', out),
    )
    rows, content = table(report), json.loads(out.read_text())
    assert set(rows) == set(content['ratios']) == {'folded', 'onnxruntime'}
    for name, row in rows.items():
        medians = [c[f'{name}_images_per_second'] for c in content['contenders']]
        assert row['first, images/s'] == f'{medians[0]:.2f}'
        assert row['second / first'] == f'{medians[1] / medians[0]:.3f}'
    assert '- onnxruntime: ' in report and '- image: 64 x 64' in report


@pytest.mark.parametrize(
    'message, arguments',
    [
        ('one of the two', [MINI_RESNET]),
        ('one of the two', [MINI_RESNET, MINI_CONVNEXT, '--deploy']),
        ('--onnx goes with --deploy', [MINI_RESNET, MINI_CONVNEXT, '--onnx']),
        ('inference only', [MINI_RESNET, '--deploy', '--modes', 'training']),
    ],
    ids=['too few', 'too many', 'onnx', 'training'],
)
def test_benchmark_flags_that_exclude_each_other(
    message, arguments, monkeypatch, capsys
):
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(
            str(ROOT / 'tools/analysis_tools/benchmark.py'), run_name='__main__'
        )
    assert end.value.code == 2 and message in capsys.readouterr().err


def test_compare_convolutions_prints_and_writes_what_came_out(tmp_path):
    out = tmp_path / 'comparison.json'
    report = report_of(
        *('compare_convolutions.py', '--seeds', 2, '--steps', 1, '--width', 12),
        *('--canvas', 56, '--batch-size', 2, '--out', out),
    )
    rows, content = table(report), json.loads(out.read_text())
    assert len(rows) == len(content['results']) == 6
    for result in content['results']:
        row = rows[result['name']]
        assert row['accuracy, %'] == f'{result["mean"]:.1f}'
        assert row['std'] == f'{result["std"]:.1f}'
        assert row['parameters'] == str(result['parameters'])
    assert content['seeds'] == 2 and content['steps'] == 1


def test_plot_positions_draws_beside_the_log(tmp_path):
    hook = dict(type='mmdcls.PositionStatisticsHook')
    run(tmp_path, max_epochs=2, custom_hooks=[hook])
    report = report_of('plot_positions.py', tmp_path)
    assert report.strip() == str(tmp_path / 'positions.png')
    assert (tmp_path / 'positions.png').read_bytes().startswith(b'\x89PNG')


def test_device_report_is_written_and_put_into_a_page(tmp_path):
    out, page = tmp_path / 'a' / 'report', tmp_path / 'page.md'
    titles = ['Parity of construction', 'CUDA graphs']
    report = report_of(
        *('device_report.py', out, '--quick', '--device', 'cpu', '--only', *titles)
    )
    assert 'Parity of construction: ' in report
    parity, graphs = json.loads(out.with_suffix('.json').read_text())['sections']
    assert [row['result'] for row in parity['rows']] == ['passed'] * 3
    assert graphs['note'] == 'Left out: it needs a GPU.'
    lines = '<!-- Measured on a GPU: begin -->\n', '<!-- Measured on a GPU: end -->\n'
    page.write_text(''.join(lines))
    assert report_of('device_report.py', out, '--into', page) == f'Written: {page}\n'
    assert '| gaussian | ' in page.read_text()


@pytest.mark.slow
def test_device_report_of_all_sections(tmp_path):
    out = tmp_path / 'report'
    report_of('device_report.py', out, '--quick', '--device', 'cpu')
    sections = json.loads(out.with_suffix('.json').read_text())['sections']
    rows = {section['title']: section['rows'] for section in sections}
    assert {row['models'] for row in rows['Whole models']} == {
        'ConvNeXt-atto',
        'UperNet-atto',
        'Cascade-atto',
    }
    assert len(rows['Whole models, compiled']) == 2


@pytest.mark.parametrize(
    'message, script, arguments',
    [
        ("'absent.py' does not exist", 'get_flops.py', ['absent.py']),
        ("'absent.py' does not exist", 'benchmark.py', [MINI_CONVNEXT, 'absent.py']),
        (
            'neither --amp, --channels-last nor --compile',
            'benchmark.py',
            [MINI_RESNET, '--deploy', '--onnx', '--amp', '--shape', 64, 64],
        ),
        (
            "--only names 'Speed', which is no section",
            'device_report.py',
            ['out', '--quick', '--only', 'Speed'],
        ),
        ('holds no */vis_data/scalars.json', 'plot_positions.py', ['configs']),
    ],
    ids=lambda value: None if isinstance(value, list) else str(value)[:40],
)
def test_bad_input_ends_in_one_sentence(message, script, arguments):
    assert_refuses(message, f'analysis_tools/{script}', *arguments)
