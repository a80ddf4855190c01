"""The network that is exported: a trained model as a function of images."""

from __future__ import annotations

import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModel, revert_sync_batchnorm
from torch import Tensor, nn

from mmdcls.layers import convert_to_plain, input_channels

from .fold import switch_to_deploy


def model_outputs(model: BaseModel, scope: str, inputs: Tensor) -> tuple[Tensor, ...]:
    """Compute what is exported of a model, from normalised images.

    Args:
        model: A model of mmpretrain, mmseg or mmdet.
        scope: The package that it is of, one of :data:`mmdcls.configs.SCOPES`.
        inputs: Normalised images, ``(N, channels, H, W)``.

    Returns:
        The logits of a classifier, ``(N, classes)``; those of a segmentor,
        ``(N, classes, H, W)``, of the whole image in one piece whatever ``test_cfg``
        says; the feature pyramid of a detector.
    """
    if scope == 'mmseg':
        outputs = model.encode_decode(inputs, [dict(img_shape=inputs.shape[2:])])
    elif scope == 'mmdet':
        outputs = model.extract_feat(inputs)
    else:
        outputs = model(inputs)
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


class DeployedNetwork(nn.Module):
    """A trained model from RGB images to its outputs, normalisation included.

    A model of another number of channels than three takes them in the order in which
    its pipeline loads them.

    Args:
        model: A model of mmpretrain, mmseg or mmdet, with a ``data_preprocessor``.
        preprocessing: The config of that ``data_preprocessor``.
        scope: The package that the model is of, one of :data:`mmdcls.configs.SCOPES`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, preprocessing: ConfigDict, scope: str) -> None:
        super().__init__()
        self.model = model
        self.scope = scope
        takes_rgb = preprocessing.get('to_rgb') or preprocessing.get('bgr_to_rgb')
        self.flips_channels = input_channels(model) == 3 and not takes_rgb
        # By default, neither shifts nor scales.
        self.register_buffer(
            'mean', getattr(model.data_preprocessor, 'mean', torch.zeros(1, 1, 1))
        )
        self.register_buffer(
            'std', getattr(model.data_preprocessor, 'std', torch.ones(1, 1, 1))
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the model.

        Args:
            images: Images with values of 0 to 255, ``(N, channels, H, W)``; three
                channels are RGB.

        Returns:
            The outputs that :func:`model_outputs` gives.
        """
        if self.flips_channels:
            images = images.flip(1)
        return model_outputs(self.model, self.scope, (images - self.mean) / self.std)


def make_exportable(model: nn.Module) -> nn.Module:
    """Leave nothing in a model that exporters do not know, in place.

    Positions and batch norms are folded, and what is left of the DCLS layers become
    PyTorch's convolutions. Outputs stay equal.

    Returns:
        ``model``, in evaluation mode.
    """
    switch_to_deploy(model)
    model = revert_sync_batchnorm(convert_to_plain(model))
    for name, pool in list(model.named_modules()):
        if isinstance(pool, nn.AdaptiveAvgPool2d):
            model.set_submodule(name, AveragePoolByMatrix(pool.output_size))
    return model.eval()


class AveragePoolByMatrix(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products.

    PyTorch's own is exported for the remainder that the size of the example leaves when
    divided by ``output_size``, and fails or errs on images of other sizes.

    Args:
        output_size: The size of the output, as in ``nn.AdaptiveAvgPool2d``; None keeps
            the size of an axis.
    """

    def __init__(self, output_size: int | None | tuple[int | None, int | None]) -> None:
        super().__init__()
        self.output_size = (
            output_size if isinstance(output_size, tuple) else (output_size,) * 2
        )

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``(N, C, H, W)`` to ``(N, C, *output_size)``."""
        rows, columns = self.output_size
        if rows is not None:
            x = _averages(x.shape[2], rows, x) @ x
        if columns is not None:
            x = x @ _averages(x.shape[3], columns, x).T
        return x


def _averages(size: int, count: int, like: Tensor) -> Tensor:
    """Return ``(count, size)``: each row averages the elements of one bin."""
    element = torch.arange(size, device=like.device)
    bin_number = torch.arange(count, device=like.device)[:, None]
    start = bin_number * size // count
    end = ((bin_number + 1) * size + count - 1) // count
    inside = ((start <= element) & (element < end)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)
