"""The averages, against values computed by hand and against the published ones."""

import pytest

from mmdcls.datasets.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from mmdcls.evaluation import (
    mean_corruption_error,
    mean_error,
    relative_mean_corruption_error,
)
from mmdcls.evaluation.corruption_error import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    corruption_errors,
    is_complete,
    mean_error_per_corruption,
)

# Table 3 of the ImageNet-C paper: ResNet-50's CE per corruption, rounded there.
RESNET50 = dict(
    zip(
        CORRUPTIONS,
        (80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77),
        strict=True,
    )
)


def spread(means):
    """Errors of five severities around a mean."""
    return {
        (name, severity): mean + 2.5 * (severity - 3)
        for name, mean in means.items()
        for severity in SEVERITIES
    }


def test_mean_error_by_hand():
    errors = {('fog', 1): 10.0, ('fog', 2): 20.0, ('snow', 1): 60.0}
    assert mean_error(errors) == 30.0
    assert mean_error_per_corruption(errors) == {'fog': 15.0, 'snow': 60.0}


def test_alexnet_is_100():
    errors = spread(ALEXNET_ERRORS)
    assert mean_corruption_error(errors) == pytest.approx(100)
    relative = relative_mean_corruption_error(errors, ALEXNET_CLEAN_ERROR)
    assert relative == pytest.approx(100)


def test_mce_by_hand():
    # Half of AlexNet's error everywhere, but all of it on fog: (14 * 50 + 100) / 15.
    means = {name: error / 2 for name, error in ALEXNET_ERRORS.items()}
    means['fog'] = ALEXNET_ERRORS['fog']
    assert mean_corruption_error(spread(means)) == pytest.approx(800 / 15)
    assert corruption_errors(spread(means))['fog'] == pytest.approx(100)


def test_relative_mce_is_the_published_formula():
    errors = spread({name: 30.0 + 2 * i for i, name in enumerate(CORRUPTIONS)})
    expected = 0
    for name in CORRUPTIONS:
        increase = sum(errors[name, s] - 20 for s in SEVERITIES)
        alexnet = sum(ALEXNET_ERRORS[name] - ALEXNET_CLEAN_ERROR for s in SEVERITIES)
        expected += 100 * increase / alexnet / 15
    assert relative_mean_corruption_error(errors, 20) == pytest.approx(expected)


def test_published_resnet50():
    means = {name: RESNET50[name] * ALEXNET_ERRORS[name] / 100 for name in CORRUPTIONS}
    # Rounding the 15 published values to integers leaves half a percent either way.
    assert mean_corruption_error(spread(means)) == pytest.approx(76.7, abs=0.5)
    assert relative_mean_corruption_error(spread(means), 23.9) == pytest.approx(
        105.0, abs=1.5
    )


def test_alexnet_denominators():
    assert tuple(ALEXNET_ERRORS) == CORRUPTIONS
    assert sum(ALEXNET_ERRORS.values()) / 15 == pytest.approx(78.9, abs=0.1)


def test_extra_corruptions_change_no_mce():
    errors = spread(ALEXNET_ERRORS)
    more = {**errors, **spread(dict.fromkeys(EXTRA_CORRUPTIONS, 1.0))}
    assert mean_corruption_error(more) == mean_corruption_error(errors)
    assert is_complete(more)


@pytest.mark.parametrize('function', [mean_corruption_error, corruption_errors])
def test_incomplete_errors_are_refused(function):
    errors = spread(ALEXNET_ERRORS)
    del errors['fog', 3], errors['snow', 1]
    assert not is_complete(errors)
    with pytest.raises(ValueError, match='lacks 2 of the 75: snow 1, fog 3'):
        function(errors)
