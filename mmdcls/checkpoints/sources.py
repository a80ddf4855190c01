"""Make mmengine read every checkpoint as data, wherever it comes from.

Importing this module registers the loaders with mmengine's ``CheckpointLoader``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

from mmengine.runner import CheckpointLoader
from torch import Tensor

from .embedded_config import disarm_configs
from .names import find_state_dict, strip_wrappers
from .reading import CheckpointError, read_checkpoint

WEB = ('http://', 'https://')
"""How addresses begin that :func:`download` takes."""

_DATA_ONLY = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


def _with_state_dict(checkpoint: dict) -> dict:
    """Put the tensors where mmengine and its hooks look for them.

    Their model is not known here, so that names lose only what no model has in them.
    """
    layout, tensors = find_state_dict(checkpoint)
    if not tensors or not all(
        isinstance(name, str) and isinstance(value, Tensor)
        for name, value in tensors.items()
    ):
        return checkpoint
    others = {} if layout == 'bare' else checkpoint
    return {**others, 'state_dict': strip_wrappers(tensors, front=('module',))}


def _read_local(filename: str, map_location=None) -> dict:
    return _with_state_dict(read_checkpoint(filename, map_location))


def _read_remote(
    filename: str, map_location=None, model_dir=None, progress=True
) -> dict:
    path = download(filename, model_dir, progress)
    return _with_state_dict(read_checkpoint(path, map_location))


def download(
    filename: str, model_dir: str | os.PathLike | None = None, progress: bool = True
) -> Path:
    """Download a checkpoint once a machine, as mmengine's loader does.

    A file whose name ends in ``-`` and the first hexadecimal digits of its SHA-256, as
    those of OpenMMLab do, is compared with them.

    Args:
        filename: The address, ``https://…`` or ``http://…``.
        model_dir: The folder to keep the file in; by default that of PyTorch's hub.
        progress: Whether to show a progress bar.

    Returns:
        The path of the file.

    Raises:
        CheckpointError: If the file cannot be downloaded.
    """
    from mmengine.dist import barrier, get_dist_info
    from torch.hub import HASH_REGEX, download_url_to_file, get_dir

    folder = Path(model_dir or os.path.join(get_dir(), 'checkpoints'))
    path = folder / filename.rsplit('/', 1)[-1].split('?')[0]
    if get_dist_info()[0] == 0 and not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        digest = HASH_REGEX.search(path.name)
        try:
            download_url_to_file(
                filename, str(path), digest[1] if digest else None, progress
            )
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"The checkpoint '{filename}' cannot be downloaded ({error}); fetch it "
                'by hand and name the local file instead.'
            ) from error
    barrier()
    return path


def _as_data(load: Callable[..., dict]) -> Callable[..., dict]:
    """Let a loader of mmengine (of ``torchvision://``, ``s3://``) read data only.

    Some versions of mmengine unpickle anything when torch refuses to; torch's own
    switch leaves them no choice.
    """

    @functools.wraps(load)
    def load_data(filename: str, *args, **kwargs) -> dict:
        before = os.environ.get(_DATA_ONLY)
        os.environ[_DATA_ONLY] = '1'
        try:
            checkpoint = load(filename, *args, **kwargs)
        finally:
            if before is None:
                del os.environ[_DATA_ONLY]
            else:
                os.environ[_DATA_ONLY] = before
        disarm_configs(checkpoint, filename)
        return _with_state_dict(checkpoint)

    return load_data


def register_loaders() -> None:
    """Put loaders that read data only in the place of all of mmengine's."""
    for prefix, load in dict(CheckpointLoader._schemes).items():
        if prefix and prefix not in WEB:
            CheckpointLoader.register_scheme(prefix, loader=_as_data(load), force=True)
    CheckpointLoader.register_scheme('', loader=_read_local, force=True)
    CheckpointLoader.register_scheme(WEB, loader=_read_remote, force=True)


register_loaders()
