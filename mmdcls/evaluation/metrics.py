"""Metrics of mmengine for the robustness benchmarks."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmdcls.datasets.corruptions import EXTRA_CORRUPTIONS
from mmdcls.errors import ArgumentError
from mmdcls.registry import METRICS

from . import corruption_error


@METRICS.register_module()
class MaskedAccuracy(BaseMetric):
    """Top-k accuracy among a selection of the model's outputs.

    The selected scores are taken first and ranked then, as ImageNet-A and ImageNet-R
    are evaluated; labels are indices into all outputs. Images that
    :class:`mmdcls.datasets.LoadImageOrMark` could not read are left out of the score,
    counted as ``unreadable`` and listed in :attr:`unreadable_images`.

    Args:
        topk: The numbers k of classes with the highest scores among which the true
            class counts as found. A k above the number of selected classes is not
            reported.
        classes: Indices of the selected outputs; None stands for the data set's
            ``selected_classes``, or for all where it has none.
        **kwargs: Further arguments of :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'accuracy'

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        classes: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.topk = tuple(topk)
        self.classes = classes
        self.unreadable_images: list[tuple[str, str]] = []
        """Path and reason of every image left out, sorted; on the main process."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Rank the true class of every sample.

        Raises:
            ArgumentError: If the number of scores is not that of the data set's
                classes, if a score is not finite, or if a label is not among the
                selected.
        """
        for sample in data_samples:
            path = str(sample.get('img_path', ''))
            result = dict(
                img_path=path,
                unreadable=sample.get('unreadable', ''),
                corruption=sample.get('corruption'),
                severity=sample.get('severity'),
            )
            if not result['unreadable']:
                scores = sample['pred_score'].float().flatten().cpu()
                result['rank'] = self._rank(scores, int(sample['gt_label']), path)
            self.results.append(result)

    def _rank(self, scores: torch.Tensor, label: int, path: str) -> int:
        """Return the true class's place among the selected, 0 for the first."""
        meta = self.dataset_meta or {}
        count = len(meta.get('classes') or scores)
        if len(scores) != count:
            raise ArgumentError(
                f'The model has {len(scores)} outputs and the data set {count} classes.'
            )
        if not torch.isfinite(scores).all():
            raise ArgumentError(f"The model's scores of '{path}' are not finite.")
        selected = self.classes
        if selected is None:
            selected = meta.get('selected_classes')
        if selected is None:
            selected = range(len(scores))
        indices = torch.as_tensor(list(selected))
        place = (indices == label).nonzero()
        if len(place) != 1:
            raise ArgumentError(
                f"The class {label} of '{path}' is not among the {len(indices)} "
                'selected classes.'
            )
        order = scores[indices].argsort(descending=True, stable=True)
        return int((order == place.item()).nonzero())

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Give ``top<k>`` in percent, and the counts ``images`` and ``unreadable``."""
        self._list_unreadable(results)
        ranks = [result['rank'] for result in results if not result['unreadable']]
        metrics: dict[str, float] = {
            'images': len(ranks),
            'unreadable': len(self.unreadable_images),
        }
        if not ranks:
            return metrics
        selected = self.classes or (self.dataset_meta or {}).get('selected_classes')
        for k in self.topk:
            if not selected or k <= len(selected):
                metrics[f'top{k}'] = percent(sum(rank < k for rank in ranks), ranks)
        return metrics

    def _list_unreadable(self, results: list[dict]) -> None:
        self.unreadable_images = sorted(
            (result['img_path'], result['unreadable'])
            for result in results
            if result['unreadable']
        )
        if self.unreadable_images:
            path, reason = self.unreadable_images[0]
            print_log(
                f'{len(self.unreadable_images)} images cannot be read and are not '
                f"scored, the first is '{path}' ({reason}).",
                logger='current',
                level=logging.WARNING,
            )


@METRICS.register_module()
class CorruptionError(MaskedAccuracy):
    """Errors per corruption and severity, and their averages, in one evaluation.

    For a test set that holds several corruptions (:class:`mmdcls.datasets.ImageNetC`,
    :class:`mmdcls.datasets.ImageNetCBar`); ``PackInputs`` must keep ``corruption`` and
    ``severity`` among its ``meta_keys``. Reports, in percent,
    ``<corruption>/<severity>``, ``mean_error`` over those that are averaged and, when
    ImageNet-C is complete, ``mCE`` and ``relative_mCE``.

    Args:
        clean_error: Top-1 error on the uncorrupted images, in percent; without it there
            is no ``relative_mCE``.
        extra: Corruptions that are reported and left out of every average.
        **kwargs: Further arguments of :class:`MaskedAccuracy`.
    """

    default_prefix = 'corruption_error'

    def __init__(
        self,
        clean_error: float | None = None,
        extra: Sequence[str] = EXTRA_CORRUPTIONS,
        **kwargs,
    ) -> None:
        super().__init__(topk=(1,), **kwargs)
        self.clean_error = clean_error
        self.extra = tuple(extra)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Give the errors, their averages and the number of unreadable images.

        Raises:
            ArgumentError: If the samples do not tell their corruption.
        """
        self._list_unreadable(results)
        cells: dict[tuple[str, int], list[int]] = {}
        for result in results:
            if result['corruption'] is None or result['severity'] is None:
                raise ArgumentError(
                    "CorruptionError needs 'corruption' and 'severity' of every "
                    'sample: add them to meta_keys of PackInputs.'
                )
            if not result['unreadable']:
                cell = (result['corruption'], result['severity'])
                cells.setdefault(cell, []).append(result['rank'])
        errors = {
            cell: percent(sum(rank > 0 for rank in ranks), ranks)
            for cell, ranks in sorted(cells.items())
        }
        metrics = {f'{c}/{s}': error for (c, s), error in errors.items()}
        metrics['unreadable'] = len(self.unreadable_images)
        averaged = {cell: e for cell, e in errors.items() if cell[0] not in self.extra}
        if averaged:
            metrics['mean_error'] = corruption_error.mean_error(averaged)
        if corruption_error.is_complete(errors):
            metrics['mCE'] = corruption_error.mean_corruption_error(errors)
            if self.clean_error is not None:
                metrics['relative_mCE'] = (
                    corruption_error.relative_mean_corruption_error(
                        errors, self.clean_error
                    )
                )
        return metrics


def percent(count: int, of: Sequence) -> float:
    """Give a count in percent of a sequence's length."""
    return 100.0 * count / len(of)
