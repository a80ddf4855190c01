"""python -m mmdcls.ops.benchmark --report: sections, limits, failures."""

import json
import weakref
from pathlib import Path

import pytest
import torch

from mmdcls.errors import ArgumentError, MissingPackageError
from mmdcls.ops import backends
from mmdcls.ops.benchmark import __main__ as benchmark
from mmdcls.ops.benchmark import complete, layers
from mmdcls.ops.benchmark.section import Section
from mmdcls.ops.benchmark.sections import SECTIONS


@pytest.fixture(autouse=True)
def rates(monkeypatch):
    """What the machine could do is not measured, which takes seconds."""
    monkeypatch.setattr(layers, 'copy_bandwidth', lambda device: 1e9)
    monkeypatch.setattr(layers, 'product_rate', lambda dtype: 1e9)


def report(tmp_path, *arguments):
    """The exit status, the JSON and the Markdown of a quick report."""
    out = tmp_path / 'folder' / 'v1.0'
    with pytest.raises(SystemExit) as status:
        benchmark.main(['--quick', '--device', 'cpu', '--report', str(out), *arguments])
    content = json.loads(Path(f'{out}.json').read_text())
    return status.value.code, content, Path(f'{out}.md').read_text()


def test_a_complete_report_on_a_cpu(tmp_path):
    status, content, markdown = report(tmp_path)
    assert status == 0
    assert content['facts']['torch'] == torch.__version__
    sections = {section['title']: section for section in content['sections']}
    assert list(sections) == list(SECTIONS)
    for title, section in SECTIONS.items():
        assert f'## {title}\n' in markdown
        part = sections[title]
        assert bool(part['rows']) != section.needs_gpu
        left_out = 'Left out: it needs a GPU.' if section.needs_gpu else ''
        assert part['note'] == left_out
    results = {
        row['backend']: row['result']
        for row in sections['Parity of the backends']['rows']
    }
    assert results['aten'] == 'passed'
    assert "not here: backend 'toeplitz' " in results['toeplitz']
    layers = sections['Layers against 7x7']['rows']
    assert {row['mode'] for row in layers} == {'inference', 'train'}


def test_a_wrong_result_fails_the_report_and_the_rest_goes_on(tmp_path, monkeypatch):
    aten = backends.BACKENDS['aten']
    forward = aten.forward
    monkeypatch.setattr(
        aten,
        'forward',
        lambda x, *rest: forward(x, *rest) * (1 if x.dtype == torch.float64 else 1.01),
    )
    status, content, markdown = report(tmp_path)
    assert status == 1
    assert 'FAILED' in markdown
    assert {s['title']: s for s in content['sections']}['Construction']['rows']


# --- What becomes of a report when something fails ----------------------------------


@pytest.fixture
def write(tmp_path):
    """Writes a report of some sections; gives its result, its JSON and its Markdown."""

    def write(sections, minutes=1.0, device='cpu', only=()):
        settings = layers.Settings(torch.device(device), torch.float32, (1,))
        out = str(tmp_path / 'report')
        done = complete.write_complete_report(settings, out, minutes, sections, only)
        content = json.loads(Path(f'{out}.json').read_text())
        return done, content['sections'], Path(f'{out}.md').read_text()

    return write


def some_rows(settings):
    yield {'a': 1}
    yield {'b': 2}


def raising(error):
    def rows(settings):
        yield {'a': 1}
        raise error

    return Section(rows)


def test_a_section_that_raises_says_so_and_the_rest_goes_on(write):
    sections = {
        'First': raising(RuntimeError('no such thing\nand a long story')),
        'Second': raising(MissingPackageError('The package mmdet is not installed.')),
        'Third': Section(some_rows),
    }
    done, (first, second, third), markdown = write(sections)
    assert not done
    assert first['note'] == 'FAILED: RuntimeError: no such thing'
    assert second['note'] == 'FAILED: The package mmdet is not installed.'
    assert first['rows'] == second['rows'] == [{'a': 1}]
    assert third['rows'] == [{'a': 1}, {'b': 2}] and not third['note']
    assert '| a | b |\n|---|---|\n| 1 |  |\n|  | 2 |\n' in markdown


def test_what_was_measured_is_kept_when_the_process_ends(write, tmp_path):
    def rows(settings):
        yield {'a': 1}
        raise SystemExit

    with pytest.raises(SystemExit):
        write({'First': Section(rows)})
    content = json.loads((tmp_path / 'report.json').read_text())
    assert content['sections'][0]['rows'] == [{'a': 1}]


def test_time_that_is_up_is_told(write):
    done, (first,), markdown = write({'First': Section(some_rows)}, minutes=0)
    assert done
    assert 'Cut after 0 rows: the time was up.' in markdown


def test_a_row_that_there_is_no_time_for_is_left_out(write):
    sections = {
        'Long': Section(some_rows, seconds=90),
        'Short': Section(some_rows, seconds=1),
    }
    _, (long, short), _ = write(sections, minutes=1)
    assert long['note'] == 'Cut after 0 rows: the time was up.' and not long['rows']
    assert len(short['rows']) == 2 and not short['note']


def test_sections_may_be_chosen(write):
    sections = {name: Section(some_rows) for name in ('First', 'Second')}
    _, parts, _ = write(sections, only=['Second'])
    assert [part['title'] for part in parts] == ['Second']


def test_a_gpu_that_is_lost_ends_the_report(write, monkeypatch):
    def lost(device):
        raise RuntimeError('an illegal memory access was encountered')

    monkeypatch.setattr(complete, '_facts', lambda *arguments: {})
    monkeypatch.setattr(torch.cuda, 'synchronize', lost)
    sections = {'First': raising(RuntimeError('x')), 'Second': Section(some_rows)}
    done, (_, second), _ = write(sections, device='cuda')
    assert not done and not second['rows']
    assert second['note'].startswith('Left out: the GPU answers no more')


def test_memory_of_what_failed_is_freed():
    class Tensor:
        pass

    def fail():
        big = Tensor()
        alive.add(big)
        raise RuntimeError('out of memory')

    alive = weakref.WeakSet()
    try:
        fail()
    except RuntimeError as error:
        assert complete.failure(error) == 'FAILED: RuntimeError: out of memory'
        assert not alive


# --- A document takes it in ---------------------------------------------------------


def test_a_document_takes_the_tables_in(write, tmp_path):
    sections = {
        'Short': Section(some_rows),
        'Long': Section(some_rows, in_documents=False),
    }
    write(sections)
    report = json.loads((tmp_path / 'report.json').read_text())
    page = tmp_path / 'page.md'
    frame = f'before\n{complete.BEGIN}\n{{}}{complete.END}\nafter\n'
    page.write_text(frame.format('old'))
    for _ in range(2):
        complete.insert_report(report, page)
        text = page.read_text()
        assert text.startswith(
            f'before\n{complete.BEGIN}\n\n### Measured on a device\n'
        )
        assert text.endswith(f'| |  | 2 |\n\n{complete.END}\nafter\n'[2:])
        assert '#### Short\n' in text and 'Long' not in text and 'old' not in text
    page.write_text('no lines')
    with pytest.raises(ArgumentError, match=r"page.md' has no lines '<!-- Measured"):
        complete.insert_report(report, page)
