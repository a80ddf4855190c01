"""The dense kernel kept between forward passes of inference."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter

from mmdcls.compat import is_compiling


class KernelCache:
    """The last kernel that was built, and copies of the tensors it was built from.

    Copies are compared, not version counters or addresses: those miss an edit through
    ``.data`` or NumPy. The comparison reads a few elements a kernel, and is done on a
    CPU only, for elsewhere its result would have to be waited for.

    A copied or unpickled cache is empty.
    """

    def __init__(self) -> None:
        self._entry: tuple | None = None

    def get(self, build: Callable[..., Tensor], *sources: Tensor | None) -> Tensor:
        """Return ``build(*sources)``, built now only if a source has changed.

        The result must not be written to.
        """
        entry = self._entry
        if entry is None or not all(map(_same, entry[0], sources)):
            copies = [None if source is None else source.clone() for source in sources]
            # One assignment: another thread sees the old entry or the new one.
            self._entry = entry = copies, build(*sources)
        return entry[1]

    def __reduce__(self):
        return KernelCache, ()


def is_readable(tensor: Tensor) -> bool:
    """Tell whether code may depend on the values: of a plain CPU tensor, eagerly."""
    return (
        type(tensor) in (Tensor, Parameter)
        and tensor.device.type == 'cpu'
        and not is_compiling()
        and not torch.jit.is_tracing()
    )


def _same(copy, source):
    if copy is None or source is None:
        return copy is source
    return copy.dtype == source.dtype and torch.equal(copy, source)
