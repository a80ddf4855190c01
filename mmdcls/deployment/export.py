"""Export a trained model, and compare it with PyTorch before it is written."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor

from mmdcls.apis.inference import find_images, load_trained, read_image
from mmdcls.configs import scope_of
from mmdcls.converters.checkpoint_files import check_destination
from mmdcls.datasets.loading import loading_of
from mmdcls.errors import ConfigError, MissingPackageError, MmdclsError
from mmdcls.files import refuse_overwriting, written_whole
from mmdcls.layers import input_channels

from .formats import FORMATS, Format, Runner, check_opset
from .network import DeployedNetwork, make_exportable, model_outputs

TOLERANCE = 1e-5
SHAPE = (224, 224)
PHOTOGRAPHS = ('astronaut.png', 'china.jpg', 'coffee.png')


class ExportError(MmdclsError, RuntimeError):
    """A model that cannot be exported, said in one sentence."""


@dataclass(frozen=True)
class Check:
    """A batch of images that an exported network was compared with PyTorch on.

    Attributes:
        shape: The shape of the batch, ``(N, channels, H, W)``.
        difference: The largest difference between outputs, relative to the largest
            output.
    """

    shape: tuple[int, ...]
    difference: float

    def insist_on(self, tolerance: float) -> None:
        """Refuse a larger difference.

        Raises:
            ExportError: If it is larger than ``tolerance``, or NaN.
        """
        if not self.difference <= tolerance:
            raise ExportError(
                f'On images of {self.shape} the outputs of the exported network differ '
                f'from those of PyTorch by {self.difference:.1e} of the largest, more '
                f'than {tolerance:.0e}.'
            )


def export(
    config: str | os.PathLike,
    checkpoint: str | os.PathLike,
    target: str | os.PathLike,
    *,
    images: Iterable[str | os.PathLike] = (),
    shape: tuple[int, int] = SHAPE,
    tolerance: float = TOLERANCE,
    options: Mapping | None = None,
    opset: int | None = None,
) -> list[Check]:
    """Export a trained model to the format that ``target`` ends in.

    What is exported is a :class:`DeployedNetwork`, folded, that takes any number of
    images of any size. Its outputs are compared with those of the trained model behind
    OpenMMLab's own preprocessing, on batches of two sizes.

    Args:
        config: The config that the checkpoint was trained with.
        checkpoint: The checkpoint's file.
        target: The file to write, whose name ends in one of :data:`FORMATS`; nothing is
            written if anything fails.
        images: Files and folders to compare on, which the config's pipeline loads; by
            default photographs that come with scikit-image and scikit-learn.
        shape: Height and width to resize them to. The second batch is larger.
        tolerance: The largest difference of outputs that is accepted, relative to the
            largest output.
        options: Settings of the config to override, by their dotted keys.
        opset: The version of ONNX's operators, for ``.onnx`` only; None stands for
            :data:`mmdcls.deployment.formats.OPSET`.

    Raises:
        CheckpointError: If the checkpoint cannot be read or does not fit the config.
        ConfigError: If the config does not exist, has no model or another task, or if
            an image, ``shape`` or ``opset`` does not fit.
        MissingPackageError: If a package is needed that is not installed.
        ExportError: If the model cannot be exported, gives other outputs, or
            ``target`` cannot be written.
        OverwritingError: If ``target`` is one of the files to read.
    """
    check_destination(checkpoint, target, tuple(FORMATS))
    file_format = FORMATS[Path(target).suffix]
    file_format.check_packages()
    settings = _opset_settings(file_format, opset)
    images = find_images(images)
    refuse_overwriting([target], [config, *images])
    cfg, model, _ = load_trained(config, checkpoint, options)
    scope = scope_of(cfg)
    channels = input_channels(model)
    photographs = _read(images, cfg, channels) if images else _photographs(channels)
    network = DeployedNetwork(
        make_exportable(copy.deepcopy(model)),
        cfg.model.get('data_preprocessor') or {},
        scope,
    ).eval()
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder, Path(target).name)
        # A batch of one image would be taken for a batch that is always of one.
        example = _to_rgb(_batch(photographs, 2, shape))
        with _refused(f"'{config}' cannot be exported as {file_format.name}"):
            file_format.write(network, example, exported, **settings)
            run = file_format.load(exported)
        checks = [
            _check(run, model, scope, _batch(photographs, count, size))
            for count, size in (
                (1, shape),
                (max(2, len(photographs)), (shape[0] + 32, shape[1] + 64)),
            )
        ]
        for check in checks:
            check.insist_on(tolerance)
        with _refused(f"'{target}' cannot be written"), written_whole(target) as whole:
            shutil.copyfile(exported, whole)
    return checks


def _opset_settings(file_format: Format, opset: int | None) -> dict:
    if opset is None:
        return {}
    if file_format is not FORMATS['.onnx']:
        raise ConfigError(f'`opset` is of .onnx files, {file_format.name} has none.')
    try:
        check_opset(opset)
    except ValueError as error:
        raise ConfigError(f'`opset`: {error}') from error
    return dict(opset=opset)


def _read(images: Sequence[Path], cfg: Config, channels: int) -> list[np.ndarray]:
    """Read images as the config's pipeline does; three channels are BGR."""
    loading = loading_of(cfg)
    read = [np.atleast_3d(read_image(image, loading)) for image in images]
    for path, image in zip(images, read, strict=True):
        if image.shape[2] != channels:
            raise ConfigError(
                f"`images`: the config's {loading['type']} loads '{path}' with "
                f'{image.shape[2]} channels, and the model takes {channels}.'
            )
    return read


def _photographs(channels: int) -> list[np.ndarray]:
    """Load photographs; channels beyond three repeat the first ones."""
    try:
        from mmdcls.testing.photographs import load_photograph
    except ImportError as error:
        raise MissingPackageError(
            'The photographs to compare outputs on come with scikit-image and '
            'scikit-learn, which are not installed; `images` names others.'
        ) from error
    order = [2 - channel % 3 for channel in range(channels)]
    return [load_photograph(name)[..., order] for name in PHOTOGRAPHS]


def _batch(
    photographs: Sequence[np.ndarray], count: int, size: tuple[int, int]
) -> Tensor:
    """Make a batch, ``(N, channels, H, W)``, of resized photographs in turn."""
    resized = [
        np.atleast_3d(cv2.resize(photograph, size[::-1], interpolation=cv2.INTER_AREA))
        for photograph in islice(cycle(photographs), count)
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def _to_rgb(images: Tensor) -> Tensor:
    images = images.float()
    return (images.flip(1) if images.shape[1] == 3 else images).contiguous()


@torch.no_grad()
def _check(run: Runner, model: BaseModel, scope: str, images: Tensor) -> Check:
    inputs = model.data_preprocessor(dict(inputs=list(images), data_samples=None))
    inputs, shape = inputs['inputs'], tuple(images.shape)
    if inputs.shape != shape:
        raise ConfigError(
            f'`shape`: images of {shape[2:]} are padded to {tuple(inputs.shape[2:])} '
            "by the config's data_preprocessor; name a size that is not."
        )
    expected = model_outputs(model, scope, inputs)
    with _refused(f'The exported network does not run on images of {shape}'):
        outputs = run(_to_rgb(images))
    found, wanted = ([tuple(o.shape) for o in each] for each in (outputs, expected))
    if found != wanted:
        raise ExportError(
            f'The exported network gives outputs of {found} on images of {shape}, '
            f'and PyTorch of {wanted}.'
        )
    return Check(
        shape,
        max(
            float((output - value).abs().max() / value.abs().max())
            for output, value in zip(outputs, expected, strict=True)
        ),
    )


@contextmanager
def _refused(sentence: str) -> Iterator[None]:
    """Raise in one sentence what failed, with the reason of the innermost error."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise ExportError(f'{sentence} ({reason}).') from error
