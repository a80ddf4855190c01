"""The report on whole models: small models, on the CPU."""

import contextlib
import json
import unittest.mock
from pathlib import Path

import pytest
import torch

from mmdcls.analysis import device_report, model_sections
from mmdcls.analysis.model_sections import PAIRS, QUICK_PAIRS
from mmdcls.configs import read_config
from mmdcls.errors import MissingPackageError
from mmdcls.ops.benchmark.layers import Settings
from mmdcls.ops.benchmark.sections import SECTIONS

SETTINGS = Settings(torch.device('cpu'), torch.float32, (1,), repetitions=1)
CLASSIFIER = QUICK_PAIRS[0]


@pytest.fixture(autouse=True)
def no_model_of_another_test():
    model_sections._build.cache_clear()


def test_all_sections_of_both_are_there_by_importance():
    titles = list(device_report.all_sections())
    assert set(titles) == {*SECTIONS, *model_sections.model_sections()}
    assert titles.index('Parity of the backends') < titles.index('Whole models')
    assert titles.index('Whole models') < titles.index('Backends')


def test_pairs_differ_in_their_backbones_alone():
    for pair in PAIRS:
        plain, dcls = (read_config(config).model for config in (pair.plain, pair.dcls))
        assert plain.backbone.type.endswith('ConvNeXt')
        assert dcls.backbone.type == 'mmdcls.ConvNeXtDCLS'
        assert plain.backbone.arch == dcls.backbone.arch
        assert plain.type == dcls.type


def test_rows_of_a_pair():
    sections = model_sections.model_sections((CLASSIFIER,))
    rows = [
        row
        for title in ('Whole models', 'Whole models in other formats')
        for row in sections[title].rows(SETTINGS)
    ]
    seen = [(row['layout'], row['mode']) for row in rows]
    assert seen == [
        (layout, mode)
        for layout in ('channels_last', 'nchw')
        for mode in ('inference', 'training')
    ]
    for row in rows:
        assert 'result' not in row
        times = {name: float(row[f'{name}, ms']) for name in ('plain', 'dcls', 'aten')}
        ratio = times['plain'] / times['dcls']
        assert float(row['plain / dcls']) == pytest.approx(ratio, abs=0.01)


def test_what_detectors_train_in(monkeypatch):
    """mmcv's RoIAlign takes no bfloat16."""
    asked = []
    monkeypatch.setattr(
        model_sections, '_row', lambda settings, *how: asked.append(how) or {}
    )
    combinations = [('nchw', torch.float16), ('nchw', torch.bfloat16)]
    list(model_sections.model_times(SETTINGS, (CLASSIFIER, PAIRS[2]), combinations))
    half = [how for how in asked if how[2] == torch.bfloat16]
    assert {(pair.name, mode) for pair, mode, *_ in half} == {
        (CLASSIFIER.name, 'inference'),
        (CLASSIFIER.name, 'training'),
        ('Cascade-T', 'inference'),
    }


def test_the_backend_is_set_for_each_turn(monkeypatch):
    seen = []

    class Model:
        def prepare(self, mode):
            return lambda: seen.append(layer.backend)

        model = None

    class Layer:
        backend = 'auto'

    layer = Layer()
    monkeypatch.setattr(model_sections, 'iter_dcls_layers', lambda model: [layer])
    steps = [
        model_sections._on_backend(Model(), 'training', name)
        for name in ('auto', 'aten')
    ]
    for step in (*steps, *steps):
        step()
    assert seen == ['auto', 'aten'] * 2


def test_a_model_that_cannot_be_built_is_told_and_the_rest_goes_on(
    monkeypatch, tmp_path
):
    def build(config):
        if 'cascade' in config:
            raise MissingPackageError('The package mmdet is not installed.')
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried a lot.\nMore')

    build.cache_clear = lambda: None
    monkeypatch.setattr(model_sections, '_build', build)
    titles = ['Whole models', 'Parity of construction']
    out = tmp_path / 'report'
    assert not device_report.write_device_report(str(out), 5.0, titles, quick=True)
    parity, models = json.loads(Path(f'{out}.json').read_text())['sections']
    assert {row['result'] for row in models['rows']} == {
        'FAILED: The package mmdet is not installed.',
        'FAILED: OutOfMemoryError: CUDA out of memory. Tried a lot.',
    }
    assert {row['result'] for row in parity['rows']} == {'passed'}


def test_a_title_that_is_unknown_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="names 'Speed', which is no section; .*Backends"
    ):
        device_report.write_device_report(str(tmp_path / 'a'), 1.0, ['Speed'])


def test_a_compiled_pair():
    rows = model_sections.compiled_times(SETTINGS, CLASSIFIER, 'eager')
    row = next(rows)
    assert row['mode'] == 'inference' and float(row['plain / dcls']) > 0
    assert 'aten, ms' not in row


@pytest.mark.filterwarnings('ignore:User provided device_type')
def test_backbones_from_graphs(monkeypatch):
    """On a CPU that passes for a GPU: steps are captured, and replayed in turn."""
    replayed = []

    class Graph:
        def replay(self):
            replayed.append(self)

    for name in ('Stream', 'current_stream'):
        monkeypatch.setattr(torch.cuda, name, unittest.mock.MagicMock())
    for name in ('stream', 'graph'):
        monkeypatch.setattr(torch.cuda, name, lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, 'CUDAGraph', Graph)
    rows = list(model_sections.graph_times(SETTINGS, CLASSIFIER))
    assert [row['mode'] for row in rows] == ['inference', 'training']
    for row in rows:
        assert 'result' not in row, row['result']
        for name in ('plain', 'plain, graph', 'dcls', 'dcls, graph'):
            assert float(row[f'{name}, ms']) >= 0
    # One of each model and mode; a turn is a call before and a call that is timed.
    assert len(set(replayed)) == 4 and len(replayed) == 8
