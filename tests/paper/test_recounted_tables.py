"""Our counts are the paper's, and scores come from the runs that count."""

import json
from pathlib import Path

import pytest

from mmdcls.paper.printed_tables import TABLE_3, TABLE_4, TABLE_5, TABLES
from mmdcls.paper.recounted_tables import (
    PaperTableError,
    Source,
    fill_table,
    read_robustness,
    read_scores,
    read_throughput_ratios,
    rounding,
    to_markdown,
    update_file,
)
from mmdcls.robustness.report import FORMAT

ROOT = Path(__file__).resolve().parents[2]
COUNTED = [
    pytest.param(row, id=f'table{table.number}-{row.model}')
    for table in (TABLE_3, TABLE_4)
    for row in table.rows
    if 'NeXt' in row.model and row.printed
]
MIOU = {'mIoU': ('mIoU', 1.0)}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return Source(ROOT, tmp_path_factory.mktemp('work_dirs'))


def test_every_convnext_row_of_tables_3_and_4_is_counted():
    assert len(COUNTED) == 12
    assert all(param.values[0].config for param in COUNTED)


@pytest.mark.parametrize('row', COUNTED)
def test_counts_are_within_one_percent(row, source):
    ours = source.complexity(row.config)
    keys = {'parameters', 'flops'} & set(row.printed)
    assert 'flops' in keys
    for key in keys:
        assert ours[key] == pytest.approx(float(row.printed[key]), rel=0.01)


def test_every_config_of_this_repository_is_in_a_table():
    listed = {row.config for table in TABLES.values() for row in table.rows}
    present = {
        path.relative_to(ROOT).as_posix()
        for folder in ('imagenet', 'ade20k', 'coco', 'robustness')
        for path in (ROOT / 'configs' / folder).glob('*.py')
    }
    assert present == {name for name in listed - {None} if '::' not in name}


def counted_cells(markdown):
    """The cells of tables that do not depend on measurements.

    That is all but those below an ``ours`` that follows a throughput or a score.
    """
    rows = [
        [cell.strip() for cell in line.split('|')]
        for line in markdown.splitlines()
        if line.startswith('|')
    ]
    titles = rows[0]
    kept = [
        i
        for i, title in enumerate(titles)
        if title != 'ours' or titles[i - 1].startswith(('Params', 'FLOPs'))
    ]
    return [[row[i] for i in kept] for row in rows]


@pytest.mark.parametrize('table', TABLES.values(), ids=lambda table: table.number)
def test_results_have_what_is_counted(table, source):
    results = (ROOT / 'docs/results.md').read_text()
    start = f'<!-- paper_tables {table.number} -->\n'
    _, _, rest = results.partition(start)
    printed, end, _ = rest.partition('<!-- /paper_tables -->')
    assert end, f'no {start.strip()} in docs/results.md'
    expected = to_markdown(table, fill_table(table, source), '../')
    assert printed.splitlines()[0] == expected.splitlines()[0]
    assert counted_cells(printed) == counted_cells(expected)


@pytest.mark.parametrize(
    'number, rows, model, printed',
    [
        (1, 6, 'ResNet-50-dcls 7/6', ['26.0', '12.3', '627.1', '76.5']),
        (2, 15, 'ConvNeXt-dcls-S', ['50', '9.5', '433.4', '83.7']),
        (3, 10, 'SLaK-T', ['47.1', '65', '945']),
        (3, 10, 'ConvNeXt-dcls-B, 640x640', []),
        (4, 15, 'Swin-B', ['982', '51.9', '70.5', '56.4', '45.0', '68.1', '48.9']),
        (
            5,
            7,
            'ConvNeXt-dcls-S',
            ['9.5', '50.2', '83.7', '37.8', '35.2', '33.7', '50.4', '36.7'],
        ),
    ],
)
def test_printed_values(number, rows, model, printed):
    table = TABLES[number]
    assert len(table.rows) == rows
    (row,) = [row for row in table.rows if row.model == model]
    assert list(row.printed.values()) == printed


@pytest.mark.parametrize(
    'number, model, ratio',
    [
        (1, 'ResNet-50-dcls 7/5', 627.2 / 1021.9),
        (3, 'ConvNeXt-dcls-T', 21.1 / 23.9),
        (4, 'ConvNeXt-dcls-T', 11.2 / 11.6),
    ],
)
def test_the_papers_throughput_ratios(number, model, ratio, tmp_path):
    filled = fill_table(TABLES[number], Source(ROOT, tmp_path, count=False))
    (row,) = [row for row in filled['rows'] if row['model'] == model]
    assert row['paper']['throughput'] == pytest.approx(ratio)
    assert 'throughput' not in row['ours']


def benchmark(path, *contenders):
    """Write what benchmark.py writes."""
    contenders = [dict(config=Path(config).stem, **rate) for config, rate in contenders]
    path.write_text(json.dumps(dict(device='CPU', contenders=contenders)))
    return path


def test_our_throughput_ratio(tmp_path):
    configs = {row.model: row.config for row in TABLE_3.rows}
    path = benchmark(
        tmp_path / 'benchmark.json',
        (configs['ConvNeXt-T'], dict(images_per_second=2.0)),
        (configs['ConvNeXt-dcls-T'], dict(images_per_second=3.0)),
    )
    source = Source(ROOT, tmp_path, read_throughput_ratios(path), count=False)
    filled = fill_table(TABLE_3, source)
    ratios = {row['model']: row['ours'].get('throughput') for row in filled['rows']}
    assert ratios.pop('ConvNeXt-dcls-T') == 1.5
    assert set(ratios.values()) == {None}
    assert '| 0.88 | 1.50 |' in to_markdown(TABLE_3, filled)


def test_benchmark_without_inference(tmp_path):
    rate = dict(training_images_per_second=2.0)
    path = benchmark(tmp_path / 'a.json', ('a.py', rate), ('b.py', rate))
    with pytest.raises(PaperTableError, match='a.json'):
        read_throughput_ratios(path)


@pytest.mark.parametrize('text', ['[]', '{', '{"contenders": []}'])
def test_throughput_file_without_throughput(text, tmp_path):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(PaperTableError, match='a.json'):
        read_throughput_ratios(tmp_path / 'a.json')


def write(path, *contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(map(json.dumps, contents)))


def test_scores_of_training_are_the_last_evaluations(tmp_path):
    log = 'vis_data/scalars.json'
    write(tmp_path / '20260101_000000' / log, dict(mIoU=9.0, step=2))
    write(
        tmp_path / '20260102_000000' / log,
        dict(loss=3.0, step=1),
        dict(mIoU=1.0, step=2),
        dict(mIoU=2.5, step=4),
        dict(loss=2.0, step=5),
    )
    assert read_scores(tmp_path, MIOU) == {'mIoU': 2.5}


def test_line_that_a_crash_cut_off_is_skipped(tmp_path):
    path = tmp_path / '20260101_000000/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('{"mIoU": 4.0, "step": 2}\n{"loss": 1.0}\n{"mIoU": 5.')
    assert read_scores(tmp_path, MIOU) == {'mIoU': 4.0}


def test_hidden_files_are_no_scores(tmp_path):
    write(tmp_path / '20260101_000000/20260101_000000.json', dict(mIoU=3.5))
    for name in ('._20260101_000000.json', '.x.json.7.tmp'):
        (tmp_path / '20260101_000000' / name).write_bytes(b'\0\5\x16\7\xff')
    assert read_scores(tmp_path, MIOU) == {'mIoU': 3.5}


def test_scores_of_a_test_count_first_and_those_of_tta_never(tmp_path):
    write(tmp_path / '20260103_000000/vis_data/scalars.json', dict(mIoU=2.5))
    write(tmp_path / '20260101_000000/20260101_000000.json', dict(mIoU=3.5))
    run = tmp_path / '20260102_000000'
    write(run / '20260102_000000.json', dict(mIoU=4.5))
    config = run / 'vis_data/config.py'
    config.parent.mkdir()
    config.write_text("model = dict(type='SegTTAModel', module=dict(type='A'))")
    assert read_scores(tmp_path, MIOU) == {'mIoU': 3.5}
    config.write_text("model = dict(type='A')\ntta_model = dict(type='SegTTAModel')")
    assert read_scores(tmp_path, MIOU) == {'mIoU': 4.5}


@pytest.mark.parametrize(
    'text',
    ["{touch}\nmodel = dict(type='A')", 'model = {touch}', '_base_ = {base!r}'],
    ids=['statement', 'value', 'base'],
)
def test_a_runs_config_is_not_executed(text, tmp_path):
    trace, base = tmp_path / 'trace', tmp_path / 'base.py'
    touch = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    base.write_text(touch)
    run = tmp_path / 'runs/20260102_000000'
    write(run / '20260102_000000.json', dict(mIoU=4.5))
    config = run / 'vis_data/config.py'
    config.parent.mkdir()
    config.write_text(text.format(touch=touch, base=str(base)))
    if 'base' in text:
        assert read_scores(tmp_path / 'runs', MIOU) == {'mIoU': 4.5}
    else:
        with pytest.raises(PaperTableError, match=r"config\.py' is not the plain text"):
            read_scores(tmp_path / 'runs', MIOU)
    assert not trace.exists()


def test_detection_scores_are_percentages(tmp_path):
    names = [name for name, _ in TABLE_4.metrics.values()]
    assert names[:3] == ['coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/bbox_mAP_75']
    folder = tmp_path / Path(TABLE_4.rows[5].config).stem
    scores = {name: i / 10 for i, name in enumerate(names)}
    write(folder / '20260101_000000/20260101_000000.json', scores)
    filled = fill_table(TABLE_4, Source(ROOT, tmp_path, count=False))
    row = filled['rows'][5]
    assert row['ours']['box_AP50'] == pytest.approx(10)
    assert '| 0.0 / 10.0 / 20.0 |' in to_markdown(TABLE_4, filled)


def test_evaluation_that_lacks_a_score_does_not_count(tmp_path):
    write(tmp_path / 'a/a.json', {'coco/bbox_mAP': 0.4})
    assert read_scores(tmp_path, TABLE_4.metrics) == {}


def test_no_run(tmp_path):
    assert read_scores(tmp_path / 'absent', MIOU) == {}
    markdown = to_markdown(
        TABLE_3, fill_table(TABLE_3, Source(ROOT, tmp_path, count=False))
    )
    # What nobody has counted or measured has no column.
    assert '| 47.1 | 60 | 950 | 0.88 |' in markdown


def test_robustness_report(tmp_path):
    benchmarks = dict(
        clean=dict(top1=80.0),
        c=dict(mean_error=40.0, cells=75, corruptions={}),
        cbar=dict(mean_error=30.0, cells=49, corruptions={}),
    )
    folder = tmp_path / Path(TABLE_5.rows[2].config).stem
    path = folder / 'robustness/robustness.json'
    facts = dict(model='a', task='classification', on_the_fly=False, missing=[])
    facts |= dict(parameters=1, flops=None)
    write(path, dict(facts, format=FORMAT, benchmarks=benchmarks))
    # One cell of C-bar is missing: not the table's number.
    assert read_robustness(path) == {'clean': 80.0, 'c': 40.0}
    filled = fill_table(TABLE_5, Source(ROOT, tmp_path, count=False))
    assert filled['rows'][2]['ours'] == {'clean': 80.0, 'c': 40.0}
    path.write_text('{}')
    with pytest.raises(PaperTableError, match='robustness.json'):
        read_robustness(path)


def test_a_count_that_is_off_is_told_by_a_number(tmp_path):
    filled = fill_table(TABLE_3, Source(ROOT, tmp_path, count=False))
    row = filled['rows'][0]
    assert rounding(TABLE_3.rows[0], 'flops') == 0.5
    row['ours'] = dict(parameters=60.4, flops=1000.0)
    row['difference_percent'] = dict(parameters=0.67, flops=6.5)
    note = to_markdown(TABLE_3, filled).splitlines()[-1]
    assert note == '- ConvNeXt-T: flops +6.5 % (1000.00 against 939)'


def test_update_file():
    start, end = '<!-- paper_tables 3 -->', '<!-- /paper_tables -->'
    other = '<!-- paper_tables 4 -->\nkept\n<!-- /paper_tables -->'
    text = f'before\n{start}\nold\n{end}\n{other}\nafter\n'
    new = f'before\n{start}\nnew\n{end}\n{other}\nafter\n'
    assert update_file(text, {3: 'new\n'}) == new
    assert update_file(new, {3: 'new\n'}) == new
    with pytest.raises(PaperTableError, match='N one of 1'):
        update_file(text, {1: 'new\n'})
