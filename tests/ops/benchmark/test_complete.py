"""python -m mmdcls.ops.benchmark --report: sections, limits, failures."""

import json
from pathlib import Path

import pytest
import torch

from mmdcls.ops import backends
from mmdcls.ops.benchmark import __main__ as benchmark
from mmdcls.ops.benchmark import complete, layers
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
    for title, (_, needs_gpu) in SECTIONS.items():
        assert f'## {title}\n' in markdown
        section = sections[title]
        assert bool(section['rows']) != needs_gpu
        assert section['note'] == ('Left out: it needs a GPU.' if needs_gpu else '')
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
    assert content['sections'][-2]['rows']


def test_a_section_that_raises_says_so(tmp_path, monkeypatch):
    def raising(settings):
        yield {'a': 1}
        raise RuntimeError('no such device')

    monkeypatch.setattr(complete, 'SECTIONS', {'First': (raising, False)})
    status, content, markdown = report(tmp_path)
    assert status == 1
    assert 'FAILED: RuntimeError: no such device' in markdown
    assert content['sections'][0]['rows'] == [{'a': 1}]


def test_time_that_is_up_is_told(tmp_path):
    status, content, markdown = report(tmp_path, '--minutes', '0')
    assert status == 0
    assert 'Cut after 0 rows: the time was up.' in markdown
