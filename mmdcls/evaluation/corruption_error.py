"""The averages that robustness to corruptions is reported in.

All take top-1 errors in percent, keyed by corruption and severity, and give percent.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmdcls.datasets.corruptions import CORRUPTIONS, SEVERITIES
from mmdcls.errors import ArgumentError

Errors = Mapping[tuple[str, int], float]

ALEXNET_ERRORS = {
    'gaussian_noise': 88.6428,
    'shot_noise': 89.4468,
    'impulse_noise': 92.2640,
    'defocus_blur': 81.9880,
    'glass_blur': 82.6268,
    'motion_blur': 78.5948,
    'zoom_blur': 79.8360,
    'snow': 86.6816,
    'frost': 82.6572,
    'fog': 81.9324,
    'brightness': 56.4592,
    'contrast': 85.3204,
    'elastic_transform': 64.6056,
    'pixelate': 71.7840,
    'jpeg_compression': 60.6500,
}
"""AlexNet's error on each corruption of ImageNet-C, averaged over the severities."""

ALEXNET_CLEAN_ERROR = 43.5
"""AlexNet's error on the validation images, as the ImageNet-C paper prints it."""


def mean_error(errors: Errors) -> float:
    """Average all errors given: what the paper's Table 5 calls C and C-bar.

    Args:
        errors: The errors to average, each with the same weight; not empty.
    """
    return sum(errors.values()) / len(errors)


def mean_error_per_corruption(errors: Errors) -> dict[str, float]:
    """Average the severities of every corruption that ``errors`` has."""
    grouped: dict[str, list[float]] = {}
    for (corruption, _), error in errors.items():
        grouped.setdefault(corruption, []).append(error)
    return {name: sum(values) / len(values) for name, values in grouped.items()}


def corruption_errors(errors: Errors) -> dict[str, float]:
    """Divide each corruption's error by AlexNet's: CE of Hendrycks & Dietterich 2019.

    Args:
        errors: The errors of the 15 corruptions at 5 severities; others are not looked
            at.

    Raises:
        ArgumentError: If one of the 75 is not there.
    """
    means = mean_error_per_corruption(_benchmark(errors))
    return {name: 100 * means[name] / ALEXNET_ERRORS[name] for name in CORRUPTIONS}


def mean_corruption_error(errors: Errors) -> float:
    """Average the 15 corruption errors: mCE (100 is AlexNet's).

    Args:
        errors: The errors, as :func:`corruption_errors` takes them.

    Raises:
        ArgumentError: If :func:`corruption_errors` raises it.
    """
    values = corruption_errors(errors).values()
    return sum(values) / len(values)


def relative_mean_corruption_error(errors: Errors, clean_error: float) -> float:
    """Average how much worse than clean each corruption is, against AlexNet's increase.

    ``mean_c(sum_s(E_sc - E_clean) / sum_s(A_sc - A_clean))`` with AlexNet's errors
    ``A`` (relative mCE of Hendrycks & Dietterich 2019).

    Args:
        errors: The errors, as :func:`corruption_errors` takes them.
        clean_error: The model's top-1 error on the uncorrupted images.

    Raises:
        ArgumentError: If :func:`corruption_errors` raises it.
    """
    means = mean_error_per_corruption(_benchmark(errors))
    ratios = [
        (means[name] - clean_error) / (ALEXNET_ERRORS[name] - ALEXNET_CLEAN_ERROR)
        for name in CORRUPTIONS
    ]
    return 100 * sum(ratios) / len(ratios)


def is_complete(errors: Errors) -> bool:
    """Tell whether the 15 corruptions are there at all 5 severities."""
    return all((c, s) in errors for c in CORRUPTIONS for s in SEVERITIES)


def _benchmark(errors: Errors) -> Errors:
    missing = [
        f'{c} {s}' for c in CORRUPTIONS for s in SEVERITIES if (c, s) not in errors
    ]
    if missing:
        raise ArgumentError(
            'mCE is defined over 15 corruptions at 5 severities; errors lacks '
            f'{len(missing)} of the 75: {", ".join(missing[:3])}'
            f'{", ..." if len(missing) > 3 else ""}.'
        )
    return {(c, s): errors[c, s] for c in CORRUPTIONS for s in SEVERITIES}
