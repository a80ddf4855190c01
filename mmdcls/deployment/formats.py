"""Write and run the formats that networks are exported to, one a file ending."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from mmdcls.compat import OLDEST_TORCH, torch_is
from mmdcls.errors import ArgumentError, MissingPackageError

Runner = Callable[[Tensor], list[Tensor]]
"""A function that runs an exported network on images."""

OPSET = 18
"""The lowest version of ONNX's operators that PyTorch writes all of our models with."""

# Any number of images of any size.
_DYNAMIC_AXES = {0: 'batch', 2: 'height', 3: 'width'}


@dataclass(frozen=True)
class Format:
    """One format: how its files are written and run.

    Attributes:
        name: The format's name, for people.
        packages: The modules that have to be installed, beyond PyTorch.
        write: Function that exports a network, by an example of its images, to a file;
            that of ONNX also takes an ``opset``.
        load: Function that reads such a file, to run it on a CPU.
        torch_version: The oldest version of PyTorch that exports to the format.
    """

    name: str
    packages: tuple[str, ...]
    write: Callable[..., None]
    load: Callable[[str | os.PathLike], Runner]
    torch_version: tuple[int, int] = OLDEST_TORCH

    def check_packages(self) -> None:
        """Refuse to go on without the packages.

        Raises:
            MissingPackageError: If any is not installed, or PyTorch is too old.
        """
        if not torch_is(*self.torch_version):
            oldest = '.'.join(map(str, self.torch_version))
            raise MissingPackageError(
                f'{self.name} needs PyTorch {oldest} or later, and {torch.__version__} '
                'is installed.'
            )
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise MissingPackageError(
                f'{self.name} needs {", ".join(missing)}, which is not installed: '
                f'pip install {" ".join(missing)}.'
            )


def write_onnx(
    network: nn.Module, images: Tensor, path: str | os.PathLike, opset: int = OPSET
) -> None:
    """Export to ONNX.

    The input is called ``images``. A single output is called ``logits``; several are
    called ``level0``, ``level1`` and so on.

    Args:
        network: The network to export.
        images: An example of its images.
        path: The file to write.
        opset: The version of ONNX's operators that the file needs.

    Raises:
        ArgumentError: If the exporter cannot write the network with this ``opset``.
    """
    with torch.no_grad():
        count = len(network(images))
    program = torch.onnx.export(
        network,
        (images,),
        dynamo=True,
        input_names=['images'],
        output_names=(
            ['logits'] if count == 1 else [f'level{i}' for i in range(count)]
        ),
        dynamic_shapes={'images': _DYNAMIC_AXES},
        verbose=False,
        opset_version=opset,
    )
    assert program is not None
    # PyTorch converts to other versions where it can, else keeps its own in silence.
    written = program.model.opset_imports['']
    if written != opset:
        raise ArgumentError(
            f'it takes opset {written}, and opset={opset} was asked for'
        )
    program.save(path)


def check_opset(opset: int) -> None:
    """Refuse a version of ONNX's operators that does not exist.

    Raises:
        ArgumentError: If the installed package does not know it.
    """
    from onnx.defs import onnx_opset_version

    newest = onnx_opset_version()
    if not 1 <= opset <= newest:
        raise ArgumentError(
            f'opset={opset} must be between 1 and {newest}, the newest that the '
            'installed onnx knows.'
        )


def load_onnx(path: str | os.PathLike) -> Runner:
    """Open an ONNX file in ONNX Runtime, with as many threads as PyTorch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        os.fspath(path), options, providers=['CPUExecutionProvider']
    )

    def run(images: Tensor) -> list[Tensor]:
        outputs = session.run(None, {'images': images.numpy()})
        return [torch.from_numpy(output) for output in outputs]

    return run


def write_torchscript(
    network: nn.Module, images: Tensor, path: str | os.PathLike
) -> None:
    """Export to TorchScript, by tracing."""
    with torch.no_grad():
        torch.jit.trace(network, images, check_trace=False).save(os.fspath(path))


def load_torchscript(path: str | os.PathLike) -> Runner:
    """Load a TorchScript file."""
    return _without_gradients(torch.jit.load(path))


def write_torch_export(
    network: nn.Module, images: Tensor, path: str | os.PathLike
) -> None:
    """Export with ``torch.export``."""
    axes = dict.fromkeys(_DYNAMIC_AXES, torch.export.Dim.DYNAMIC)
    program = torch.export.export(
        network, (images,), dynamic_shapes={'images': axes}, strict=False
    )
    torch.export.save(program, path)


def load_torch_export(path: str | os.PathLike) -> Runner:
    """Load a file of ``torch.export``."""
    return _without_gradients(torch.export.load(path).module())


def _without_gradients(network) -> Runner:
    @torch.no_grad()
    def run(images: Tensor) -> list[Tensor]:
        return list(network(images))

    return run


FORMATS = {
    '.onnx': Format(
        'ONNX', ('onnx', 'onnxscript', 'onnxruntime'), write_onnx, load_onnx, (2, 6)
    ),
    '.pt': Format('TorchScript', (), write_torchscript, load_torchscript),
    '.pt2': Format('torch.export', (), write_torch_export, load_torch_export, (2, 6)),
}
