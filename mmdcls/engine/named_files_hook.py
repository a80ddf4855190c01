"""Name the file where an image or a label map cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdcls.datasets.loading import NamingTransform
from mmdcls.registry import HOOKS


@HOOKS.register_module()
class NamedFilesHook(Hook):
    """Have the transforms that read files say which file it is that they cannot read.

    Decoders say what is wrong with a file and not which file it is. ``tools/train.py``
    and ``tools/test.py`` add this hook to every run.

    Raises:
        UnreadableImageError: While data are loaded, in place of any error of a
            transform ``Load…`` whose file is known.
    """

    def before_train(self, runner: Runner) -> None:
        """Watch over the training data."""
        name_files(runner.train_loop.dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Watch over the validation data."""
        name_files(runner.val_loop.dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Watch over the test data."""
        name_files(runner.test_loop.dataloader.dataset)


def name_files(dataset: Any) -> None:
    """Wrap the transforms of a data set that read files, once.

    Args:
        dataset: A data set of mmengine, or one that wraps others; of any other kind it
            is left as it is.
    """
    for part in _datasets(dataset):
        transforms = getattr(getattr(part, 'pipeline', None), 'transforms', None)
        if not isinstance(transforms, list):
            continue
        for i, transform in enumerate(transforms):
            name = type(transform).__name__
            if name.startswith('Load') and not isinstance(transform, NamingTransform):
                transforms[i] = NamingTransform(transform)


def _datasets(dataset: Any) -> Iterator[Any]:
    yield dataset
    inner = getattr(dataset, 'dataset', None)
    if inner is not None and inner is not dataset:
        yield from _datasets(inner)
    for part in getattr(dataset, 'datasets', None) or []:
        yield from _datasets(part)
