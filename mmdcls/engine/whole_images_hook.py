"""Test on whole images only."""

from __future__ import annotations

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdcls.datasets.loading import check_readable, list_files, loading_of
from mmdcls.registry import HOOKS, TRANSFORMS


@HOOKS.register_module()
class WholeImagesHook(Hook):
    """Decode every test image before a test, and refuse files that are no whole images.

    OpenCV fills up truncated images in silence in some versions, and the score then is
    one of pictures that nobody has seen; in others the test ends half-way.
    """

    @master_only
    def before_test(self, runner: Runner) -> None:
        """Check the images that the test loop is about to load.

        Raises:
            UnreadableImageError: Counts and names those that are no whole images.
        """
        load = TRANSFORMS.build(loading_of(runner.cfg))
        check_readable(list_files(runner.test_dataloader.dataset), load)
