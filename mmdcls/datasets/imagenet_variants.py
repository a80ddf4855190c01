"""ImageNet's validation images and the robustness benchmarks derived from them.

Each data set reads the folders of the public release: one folder a class, named by
WordNet ids, or by the classes of a data set of one's own.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset

from mmdcls.errors import MissingPackageError, MmdclsError
from mmdcls.files import list_images
from mmdcls.registry import DATASETS

from .corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES

CBAR_SEVERITIES = {
    'blue_noise_sample': (0.8, 1.6, 2.4, 4.0, 5.6),
    'brownish_noise': (1.0, 2.0, 3.0, 4.0, 5.0),
    'caustic_refraction': (2.35, 3.2, 4.9, 6.6, 9.15),
    'checkerboard_cutout': (2.0, 3.0, 4.0, 5.0, 6.0),
    'cocentric_sine_waves': (3.0, 5.0, 8.0, 9.0, 10.0),
    'inverse_sparkles': (1.0, 2.0, 4.0, 9.0, 10.0),
    'perlin_noise': (4.6, 5.2, 5.8, 7.6, 8.8),
    'plasma_noise': (4.75, 7.0, 8.5, 9.25, 10.0),
    'single_frequency_greyscale': (1.0, 1.5, 2.0, 4.5, 5.0),
    'sparkles': (1.0, 2.0, 3.0, 5.0, 6.0),
}
"""The corruptions of ImageNet-C-bar, and the strengths that its authors' generator
names the folders of severities 1 to 5 by."""

CBAR_CORRUPTIONS = tuple(CBAR_SEVERITIES)


@functools.cache
def read_wordnet_ids(name: str = 'imagenet') -> tuple[str, ...]:
    """Read a list of WordNet ids, in the order of a 1000-class model's outputs.

    Args:
        name: ``'imagenet'`` (1000 classes), ``'imagenet_a'`` or ``'imagenet_r'`` (200).

    Raises:
        MissingPackageError: If timm is not installed.
    """
    try:
        folder = importlib.resources.files('timm.data') / '_info'
    except ImportError as error:
        raise MissingPackageError(
            'The class lists of ImageNet need the package timm: pip install '
            f'mmdcls[robustness] ({error}).'
        ) from error
    return tuple((folder / f'{name}_synsets.txt').read_text().split())


class ImageFolderError(MmdclsError, ValueError):
    """Folders that are not those of the release, said in one sentence."""


class WordNetFolders(BaseDataset):
    """Images in one folder a class; base of the data sets below.

    A sample has ``img_path`` and ``gt_label``, an index into ``wordnet_ids``. The meta
    information holds ``classes`` (all of ``wordnet_ids``) and ``selected_classes``, the
    indices that predictions are restricted to.

    Args:
        data_root: The folder that holds the class folders.
        pipeline: Transforms.
        wordnet_ids: The folders' names of the model's outputs, in order; None stands
            for the 1000 of ImageNet-1k.
        image_count: The number of images that there must be; ``'published'`` stands for
            the release's number (checked for ImageNet-1k's classes only), None for any,
            of some classes none.
        **kwargs: Further arguments of :class:`mmengine.dataset.BaseDataset`.

    Attributes:
        empty_classes: Classes without an image, in any of the folders that
            :meth:`image_folders` gives; known once the images are listed.

    Raises:
        ImageFolderError: If a folder is missing, empty or foreign, if the count is off,
            or if the benchmark has none of the classes.
    """

    CLASS_LIST = 'imagenet'
    """Which list of :func:`read_wordnet_ids` the release has folders of."""

    IMAGE_COUNT = 50_000
    """Images in the release, in each cell where it has several."""

    def __init__(
        self,
        data_root: str,
        pipeline: Sequence[dict | Callable] = (),
        wordnet_ids: Sequence[str] | None = None,
        image_count: int | str | None = 'published',
        **kwargs,
    ) -> None:
        self._accepts_empty = image_count is None
        self.empty_classes: set[str] = set()
        if image_count == 'published':
            image_count = self.IMAGE_COUNT if wordnet_ids is None else None
        self.image_count = image_count
        self.wordnet_ids = tuple(wordnet_ids or read_wordnet_ids())
        self._published = set(read_wordnet_ids(self.CLASS_LIST))
        if self.CLASS_LIST == 'imagenet':
            self._published |= set(self.wordnet_ids)
        selected = [i for i, w in enumerate(self.wordnet_ids) if w in self._published]
        if not selected:
            raise ImageFolderError(
                f'{type(self).__name__} has none of the {len(self.wordnet_ids)} '
                f'classes of the model (the first is {self.wordnet_ids[0]!r}).'
            )
        super().__init__(
            data_root=str(data_root),
            metainfo=dict(classes=self.wordnet_ids, selected_classes=tuple(selected)),
            pipeline=list(pipeline),
            test_mode=kwargs.pop('test_mode', True),
            serialize_data=kwargs.pop('serialize_data', False),
            **kwargs,
        )

    def image_folders(self) -> Iterator[tuple[Path, dict]]:
        """Yield every folder that holds class folders, and what its samples share."""
        yield Path(self.data_root), {}

    def load_data_list(self) -> list[dict]:
        """List the images, sorted by class and name."""
        samples = []
        for folder, shared in self.image_folders():
            found = self._list_images(folder)
            if self.image_count is not None and len(found) != self.image_count:
                raise ImageFolderError(
                    f"'{folder}' holds {len(found)} images instead of "
                    f'{self.image_count}; image_count=None accepts any number.'
                )
            for path, label in found:
                samples.append(dict(img_path=path, gt_label=label, **shared))
        return samples

    def _list_images(self, folder: Path) -> list[tuple[str, int]]:
        if not folder.is_dir():
            raise ImageFolderError(f"{type(self).__name__}: '{folder}' does not exist.")
        folders = class_folders(folder)
        wanted = [self.wordnet_ids[i] for i in self.metainfo['selected_classes']]
        images, empty = [], []
        for name in wanted:
            paths = list_images(folder / name) if name in folders else []
            label = self.wordnet_ids.index(name)
            images += [(str(path), label) for path in paths]
            if not paths:
                empty.append(name)
        if not images or (empty and not self._accepts_empty):
            raise ImageFolderError(
                f"'{folder}' has no image of {len(empty)} of {len(wanted)} classes "
                f'({_first(empty)}); images must lie in one folder a class, named by '
                'its WordNet id or as in your own data set, and image_count=None '
                'accepts that some classes have none.'
            )
        foreign = [name for name in folders if name not in self._published]
        if foreign:
            raise ImageFolderError(
                f"'{folder}' has {len(foreign)} folders of classes that "
                f'{type(self).__name__} does not have ({_first(foreign)}).'
            )
        self.empty_classes.update(empty)
        return images


def class_folders(folder: Path) -> list[str]:
    """List the names of the class folders, hidden ones left out, alphabetically."""
    return sorted(
        p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.')
    )


class CorruptedFolders(WordNetFolders):
    """Base of the data sets that have a folder a corruption and severity.

    A sample has ``corruption`` and ``severity`` besides what
    :class:`WordNetFolders` gives.

    Args:
        data_root: The folder that holds the corruptions' folders.
        corruptions: The names of the corruptions; None stands for those of the
            benchmark.
        severities: The severities, 1 to 5.
        **kwargs: Further arguments of :class:`WordNetFolders`; ``image_count`` is that
            of each folder.

    Raises:
        ImageFolderError: If the base class raises it, or if a name is none of the
            benchmark's.
    """

    BENCHMARK: tuple[str, ...] = ()
    """The corruptions that the benchmark's averages are taken over."""

    EXTRA: tuple[str, ...] = ()
    """Corruptions that come with the release and are in no average."""

    def __init__(
        self,
        data_root: str,
        corruptions: Sequence[str] | None = None,
        severities: Sequence[int] = SEVERITIES,
        **kwargs,
    ) -> None:
        self.corruptions = tuple(corruptions or self.BENCHMARK)
        self.severities = tuple(severities)
        for name, value, known in (
            ('corruptions', self.corruptions, self.BENCHMARK + self.EXTRA),
            ('severities', self.severities, SEVERITIES),
        ):
            unknown = [entry for entry in value if entry not in known]
            if unknown:
                raise ImageFolderError(
                    f'{name}: {type(self).__name__} has no {unknown[0]!r}, but '
                    f'{", ".join(map(str, known))}.'
                )
        super().__init__(data_root=data_root, **kwargs)

    @staticmethod
    def cell_folder(data_root: str | Path, corruption: str, severity: int) -> Path:
        """Return where the images of one corruption and severity are, or would be."""
        return Path(data_root) / corruption / str(severity)

    def image_folders(self) -> Iterator[tuple[Path, dict]]:
        """Yield one folder a corruption and severity."""
        for corruption in self.corruptions:
            for severity in self.severities:
                folder = self.cell_folder(self.data_root, corruption, severity)
                yield folder, dict(corruption=corruption, severity=severity)


@DATASETS.register_module()
class ImageNetVal(WordNetFolders):
    """ImageNet's validation images: ``<data_root>/<wnid>/*.JPEG``, 50,000 images."""


@DATASETS.register_module()
class ImageNetC(CorruptedFolders):
    """ImageNet-C: ``<data_root>/<corruption>/<1-5>/<wnid>/*.JPEG``.

    15 corruptions by default; the four of ``EXTRA`` on request. The images are 224x224
    and are evaluated without resizing (Hendrycks & Dietterich 2019).
    """

    BENCHMARK = CORRUPTIONS
    EXTRA = EXTRA_CORRUPTIONS


@DATASETS.register_module()
class ImageNetCBar(CorruptedFolders):
    """ImageNet-C-bar, ten corruptions (Mintun et al. 2021), in both public layouts.

    ``<data_root>/<corruption>/<1-5>/<wnid>/`` is the downloadable release;
    ``<data_root>/<corruption>/<strength>/<wnid>/`` is what the authors' generator
    writes, with the strengths of :data:`CBAR_SEVERITIES` as in ``2.35``; its folder
    ``ImageNet-C-Bar`` may stand between.
    """

    BENCHMARK = CBAR_CORRUPTIONS

    @staticmethod
    def cell_folder(data_root: str | Path, corruption: str, severity: int) -> Path:
        """Return where the images of one corruption and severity are, or would be."""
        root = Path(data_root)
        if (root / 'ImageNet-C-Bar').is_dir():
            root /= 'ImageNet-C-Bar'
        released = root / corruption / str(severity)
        strength = CBAR_SEVERITIES[corruption][severity - 1]
        generated = root / corruption / f'{strength:.2f}'
        return generated if generated.is_dir() else released


@DATASETS.register_module()
class ImageNetA(WordNetFolders):
    """ImageNet-A: ``<data_root>/<wnid>/*.jpg``, 200 classes (Hendrycks et al. 2021b).

    ``selected_classes`` are the 200 outputs among which the prediction is chosen.
    """

    CLASS_LIST = 'imagenet_a'
    IMAGE_COUNT = 7_500


@DATASETS.register_module()
class ImageNetR(WordNetFolders):
    """ImageNet-R: ``<data_root>/<wnid>/*.jpg``, 200 classes (Hendrycks et al. 2021a).

    ``selected_classes`` are the 200 outputs among which the prediction is chosen.
    """

    CLASS_LIST = 'imagenet_r'
    IMAGE_COUNT = 30_000


@DATASETS.register_module()
class ImageNetSketch(WordNetFolders):
    """ImageNet-Sketch: ``<data_root>/<wnid>/*.JPEG`` (Wang et al. 2019)."""

    IMAGE_COUNT = 50_889


def _first(names: Sequence[str]) -> str:
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
