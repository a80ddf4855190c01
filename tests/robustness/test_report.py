"""Reports: averages by hand, the table, the plot."""

import json

import numpy as np
import pytest
from PIL import Image

from mmdcls.robustness import Cell
from mmdcls.robustness import report as robustness
from mmdcls.robustness.run import write_report

FACTS = dict(model='mine', parameters=28_600_000, flops=4_960_000_000, on_the_fly=False)


def top1(value, unreadable=()):
    return dict(top1=value, images=10, unreadable=list(unreadable))


@pytest.fixture
def classifier():
    results = {
        Cell('clean'): top1(80.0),
        Cell('c', 'fog', 1): top1(60.0),
        Cell('c', 'fog', 5): top1(30.0),
        Cell('c', 'snow', 1): top1(90.0, [['n0/a.jpg', 'truncated']]),
        Cell('c_extra', 'spatter', 1): top1(0.0),
        Cell('r'): top1(47.0),
    }
    facts = dict(FACTS, task='classification')
    return robustness.summarize(facts, results, [Cell('a')])


@pytest.fixture
def detector():
    results = {
        Cell('clean'): {'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_50': 0.8},
        Cell('c', 'fog', 1): {'coco/bbox_mAP': 0.3, 'coco/bbox_mAP_50': 0.4},
        Cell('c', 'fog', 5): {},  # mmdet reports nothing where it detects nothing
    }
    return robustness.summarize(dict(FACTS, task='mmdet'), results)


def test_errors_by_hand(classifier):
    c = classifier['benchmarks']['c']
    assert c['cells'] == 3
    assert c['mean_error'] == pytest.approx((40 + 70 + 10) / 3)
    assert c['error_per_corruption'] == {'fog': 55, 'snow': 10}
    assert 'mCE' not in c  # three of 75 cells
    assert 'mean_error' not in classifier['benchmarks']['c_extra']
    assert classifier['missing'] == ['a']


def test_performance_under_corruption_by_hand(detector):
    c = detector['benchmarks']['c']
    assert c['mPC'] == pytest.approx({'coco/bbox_mAP': 0.15, 'coco/bbox_mAP_50': 0.2})
    assert c['rPC'] == pytest.approx({'coco/bbox_mAP': 30, 'coco/bbox_mAP_50': 25})
    assert '| mine | coco/bbox_mAP | 0.500 | 0.150 | 30.0 | 2 |' in (
        robustness.to_markdown([detector])
    )


def test_table_of_a_classifier(classifier):
    text = robustness.to_markdown([classifier])
    assert (
        '| mine | 5.0 / 28.6 | 80.0 | 40.0 (3 of 75 cells) | – | – | 47.0 | – |' in text
    )
    assert '1 cells had no images: a.' in text
    assert '1 images of c/snow/1 cannot be read and are not scored: n0/a.jpg.' in text
    # Every row has as many columns as the head.
    table = [line for line in text.splitlines() if line.startswith('|')]
    assert len({line.count('|') for line in table}) == 1


def test_reports_of_another_task_are_left_out(classifier, detector):
    assert 'mAP' not in robustness.to_markdown([classifier, detector])


@pytest.mark.parametrize('kind', ['classifier', 'detector', 'no corruption'])
def test_report_is_written_and_read(kind, classifier, detector, tmp_path):
    reports = dict(classifier=classifier, detector=detector)
    report = reports.get(kind) or robustness.summarize(
        dict(FACTS, task='classification'), {Cell('clean'): top1(80.0)}
    )
    path = tmp_path / 'out/robustness.json'
    write_report(path, [report, dict(report, model='other')])
    assert robustness.read(path) == json.loads(json.dumps(report))
    assert '| other |' in path.with_suffix('.md').read_text()
    pixels = np.asarray(Image.open(path.with_suffix('.png')).convert('RGB'))
    # The two models' lines or bars have matplotlib's first two colours; where both
    # have the same values, the second covers the first one.
    assert (pixels == (255, 127, 14)).all(-1).any()
    assert sorted(p.name for p in path.parent.iterdir()) == [
        'robustness.json',
        'robustness.md',
        'robustness.png',
    ]


@pytest.mark.parametrize('text', ['', '{}', '[]', '{"format": 0, "benchmarks": {}}'])
def test_what_is_no_report_is_refused(tmp_path, text):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(robustness.ReportError, match='a.json. is no report'):
        robustness.read(tmp_path / 'a.json')
