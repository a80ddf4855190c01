"""tools/analysis_tools/paper_tables.py as a user runs it."""

import json

from helpers.tool_runs import assert_refuses, assert_runs, run_tool

TOOL = 'analysis_tools/paper_tables.py'
CONFIG = 'upernet_convnext-dcls-tiny_8xb2-amp-160k_ade20k-512x512'


def test_tables_are_printed_and_written(tmp_path):
    run = tmp_path / CONFIG / '20260101_000000'
    run.mkdir(parents=True)
    (run / '20260101_000000.json').write_text('{"mIoU": 12.34}')
    out = tmp_path / 'tables.json'
    process = run_tool(
        *(TOOL, '--no-count', '--work-dirs', tmp_path, '--json', out),
    )
    assert process.returncode == 0, process.stderr
    for number in range(1, 6):
        assert f'**Table {number}.**' in process.stdout
    assert f'configs/ade20k/{CONFIG}.py) | 47.1 | 12.3 |' in process.stdout
    tables = json.loads(out.read_text())
    assert [table['table'] for table in tables] == [1, 2, 3, 4, 5]
    (row,) = [row for row in tables[2]['rows'] if row['model'] == 'ConvNeXt-dcls-T']
    assert row['paper']['mIoU'] == 47.1
    assert row['ours'] == {'mIoU': 12.34}


def test_counts_go_into_a_document(tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text('# A\n<!-- paper_tables 1 -->\n<!-- /paper_tables -->\nB\n')
    assert_runs(TOOL, '--tables', 1, '--update', readme, '--work-dirs', tmp_path)
    lines = readme.read_text().splitlines()
    assert lines[0] == '# A' and lines[-1] == 'B'
    (row,) = [line for line in lines if line.startswith('| [ResNet-50-dcls 7/5]')]
    assert '| 24.0 | 24.01 | 12.3 | 12.3 |' in row


def test_wrong_throughput_file(tmp_path):
    (tmp_path / 'a.json').write_text('{}')
    assert_refuses("a.json' is no JSON of", TOOL, '--throughput', tmp_path / 'a.json')
