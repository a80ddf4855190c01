"""Images per second of a model before and after deployment, timed in turns."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from mmdcls.deployment import FORMATS, DeployedNetwork
from mmdcls.deployment.fold import switch_to_deploy
from mmdcls.deployment.network import make_exportable
from mmdcls.errors import ArgumentError

from .throughput import Comparison, Contender, Settings, compare


def compare_deployed(
    contender: Contender,
    rounds: int = 11,
    iterations: int = 3,
    onnx: bool = False,
) -> list[Comparison]:
    """Time what deployment exports: images in; logits or feature pyramid out.

    Args:
        contender: The model as trained; it is left as it is.
        rounds: The number of rounds, as in :func:`mmdcls.analysis.throughput.compare`.
        iterations: The number of batches in a round, as there.
        onnx: Whether to time ONNX Runtime, too, on a CPU in float32.

    Returns:
        The folded model against the model as trained, then ONNX Runtime against it.

    Raises:
        ArgumentError: If the contender's settings are not ones that ONNX Runtime has.
        ImportError: If ONNX Runtime or the exporter is not installed.
    """
    if onnx:
        _check_onnx(contender.settings)
    trained = _run_pytorch(contender, nn.Module.eval)
    others = {'folded': _run_pytorch(contender, switch_to_deploy)}
    if onnx:
        others['onnxruntime'] = _run_onnx(contender)
    return [
        compare(trained, other, name, contender.settings, rounds, iterations)
        for name, other in others.items()
    ]


def _check_onnx(settings: Settings) -> None:
    accepted = replace(
        settings, device='cpu', amp=False, channels_last=False, compile=False
    )
    if settings != accepted:
        raise ArgumentError(
            'ONNX Runtime is timed on a CPU in float32: `onnx` goes with a CPU, '
            'and with neither `amp`, `channels_last` nor `compile`.'
        )
    FORMATS['.onnx'].check_packages()


def _network(
    contender: Contender, prepare: Callable[[nn.Module], object]
) -> DeployedNetwork:
    model = copy.deepcopy(contender.model).eval()
    prepare(model)
    preprocessing = contender.cfg.model.get('data_preprocessor') or {}
    return DeployedNetwork(model, preprocessing, contender.scope).eval()


def _run_pytorch(
    contender: Contender, prepare: Callable[[nn.Module], object]
) -> Callable[[], object]:
    network = _network(contender, prepare)
    forward = torch.compile(network) if contender.settings.compile else network

    @torch.no_grad()
    def run():
        with contender.autocast():
            return forward(contender.images)

    return run


def _run_onnx(contender: Contender) -> Callable[[], object]:
    example = contender.images[:1].repeat(2, 1, 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'model.onnx')
        FORMATS['.onnx'].write(_network(contender, make_exportable), example, path)
        run = FORMATS['.onnx'].load(path)
    return lambda: run(contender.images)
