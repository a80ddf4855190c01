"""The registered metrics, against values computed by hand."""

import pytest
import torch
from mmengine.evaluator import Evaluator

import mmdcls.registry  # noqa: F401  registers the scope
from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from mmdcls.evaluation import CorruptionError, MaskedAccuracy
from mmdcls.evaluation.corruption_error import ALEXNET_ERRORS


def sample(scores, label, **meta):
    return dict(pred_score=torch.tensor(scores), gt_label=torch.tensor([label]), **meta)


def evaluate(metric, samples, classes=4, selected=None):
    metric.dataset_meta = dict(classes=tuple(range(classes)))
    if selected is not None:
        metric.dataset_meta['selected_classes'] = selected
    metric.process({}, samples)
    return metric.evaluate(len(samples))


SAMPLES = [
    sample([0.1, 0.2, 0.3, 0.4], 3),  # first of all, first of (0, 3)
    sample([0.1, 0.2, 0.3, 0.4], 0),  # last of all, second of (0, 3)
    sample([0.3, 0.4, 0.2, 0.1], 0),  # second of all, first of (0, 3)
]


def test_accuracy_of_all_classes():
    metrics = evaluate(MaskedAccuracy(topk=(1, 2)), SAMPLES)
    assert metrics == {
        'accuracy/images': 3,
        'accuracy/unreadable': 0,
        'accuracy/top1': pytest.approx(100 / 3),
        'accuracy/top2': pytest.approx(200 / 3),
    }


@pytest.mark.parametrize('given', ['data set', 'argument'])
def test_scores_are_selected_before_they_are_ranked(given):
    own = (0, 3) if given == 'argument' else None
    metric = MaskedAccuracy(topk=(1, 2, 5), classes=own)
    metrics = evaluate(metric, SAMPLES, selected=None if own else (0, 3))
    assert metrics['accuracy/top1'] == pytest.approx(200 / 3)
    assert metrics['accuracy/top2'] == 100
    assert 'accuracy/top5' not in metrics  # there are only two


def test_unreadable_images_are_counted_and_not_scored():
    samples = [
        *SAMPLES,
        sample([1.0, 0.0, 0.0, 0.0], 0, unreadable='truncated', img_path='b.jpg'),
        sample([1.0, 0.0, 0.0, 0.0], 0, unreadable='no image', img_path='a.jpg'),
    ]
    metric = MaskedAccuracy()
    metrics = evaluate(metric, samples)
    assert metrics['accuracy/images'] == 3
    assert metrics['accuracy/unreadable'] == 2
    assert metrics['accuracy/top1'] == pytest.approx(100 / 3)
    assert metric.unreadable_images == [('a.jpg', 'no image'), ('b.jpg', 'truncated')]


@pytest.mark.parametrize(
    ('samples', 'classes', 'selected', 'message'),
    [
        (SAMPLES, 5, None, 'The model has 4 outputs and the data set 5 classes'),
        ([sample([0.1, float('nan')], 0)], 2, None, 'not finite'),
        (SAMPLES, 4, (1, 2), 'not among the 2 selected'),
    ],
    ids=['number of outputs', 'nan', 'label outside'],
)
def test_bad_samples(samples, classes, selected, message):
    with pytest.raises(ValueError, match=message):
        evaluate(MaskedAccuracy(), samples, classes, selected)


def corrupted(corruption, severity, ranks):
    """Samples of two classes whose true one has the given ranks."""
    scores = {0: [0.9, 0.1], 1: [0.1, 0.9]}
    return [
        sample(scores[rank], 0, corruption=corruption, severity=severity)
        for rank in ranks
    ]


def test_corruption_error_by_hand():
    samples = [
        *corrupted('fog', 1, [0, 0, 0, 1]),  # 25 %
        *corrupted('fog', 5, [1, 1]),  # 100 %
        *corrupted('speckle_noise', 1, [1]),  # an extra one, in no average
    ]
    metrics = evaluate(CorruptionError(), samples, classes=2)
    assert metrics == {
        'corruption_error/fog/1': 25,
        'corruption_error/fog/5': 100,
        'corruption_error/speckle_noise/1': 100,
        'corruption_error/unreadable': 0,
        'corruption_error/mean_error': 62.5,
    }


def test_corruption_error_of_a_complete_set():
    samples = [
        entry
        for corruption in CORRUPTIONS + EXTRA_CORRUPTIONS
        for severity in SEVERITIES
        for entry in corrupted(corruption, severity, [0, 1])
    ]
    metrics = evaluate(CorruptionError(clean_error=25), samples, classes=2)
    mce = sum(50 / error for error in ALEXNET_ERRORS.values()) / 15 * 100
    relative = sum(25 / (error - 43.5) for error in ALEXNET_ERRORS.values()) / 15 * 100
    assert metrics['corruption_error/mean_error'] == 50
    assert metrics['corruption_error/mCE'] == pytest.approx(mce)
    assert metrics['corruption_error/relative_mCE'] == pytest.approx(relative)


def test_corruption_error_needs_the_corruption():
    with pytest.raises(ValueError, match='meta_keys of PackInputs'):
        evaluate(CorruptionError(), SAMPLES)


def test_metrics_are_registered():
    evaluator = Evaluator(
        [dict(type='mmdcls.MaskedAccuracy'), dict(type='mmdcls.CorruptionError')]
    )
    assert [type(metric) for metric in evaluator.metrics] == [
        MaskedAccuracy,
        CorruptionError,
    ]
