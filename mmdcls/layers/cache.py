"""The dense kernel kept between forward passes of inference."""

import itertools
import weakref
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter

from mmdcls.compat import custom_op, is_compiling, may_be_exporting
from mmdcls.errors import ArgumentError
from mmdcls.ops import construct_kernel

_numbers = itertools.count()
_caches: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


class KernelCache:
    """The last kernel that was built, and copies of the tensors it was built from.

    Copies are compared, not version counters or addresses: those miss an edit through
    ``.data`` or NumPy. The comparison reads a few elements a kernel, and is done on a
    CPU only, for elsewhere its result would have to be waited for.

    A copied or unpickled cache is empty.

    Attributes:
        number: What :func:`keep_kernel` knows the cache by in a compiled model. In a
            tensor, as PyTorch would compile anew for each other integer.
    """

    def __init__(self) -> None:
        self._entry: tuple | None = None
        number = next(_numbers)
        self.number = torch.tensor(number, device='cpu')
        _caches[number] = self

    def get(self, build: Callable[..., Tensor], *sources: Tensor | None) -> Tensor:
        """Return ``build(*sources)``, built now only if a source has changed.

        The result must not be written to.
        """
        entry = self._entry
        if entry is None or not all(map(_same, entry[0], sources)):
            # What is made in inference mode could not be saved for a backward pass.
            with torch.inference_mode(False), torch.no_grad():
                copies = [
                    None if source is None else source.clone() for source in sources
                ]
                # One assignment: another thread sees the old entry or the new one.
                self._entry = entry = copies, build(*sources)
        return entry[1]

    def __reduce__(self):
        return KernelCache, ()


def keep_kernel(
    cache: KernelCache,
    weight: Tensor,
    positions: Tensor,
    sigma: Tensor | None,
    kernel_size: tuple[int, ...],
    interpolation: str,
) -> Tensor:
    """Take a kernel from a cache, which builds it if an argument has changed.

    A compiled model has one operator here, which compares in each pass as well: no
    change of the parameters leaves it stale or has it compiled again.

    Args:
        cache: The layer's.
        weight: As for :func:`mmdcls.ops.construct_kernel`.
        positions: As there.
        sigma: As there.
        kernel_size: As there.
        interpolation: As there.

    Returns:
        The kernel, which must not be written to.

    Raises:
        ArgumentError: Positions are NaN.
    """
    arguments = weight, positions, sigma, kernel_size, interpolation
    if is_compiling():
        return _kept_kernel(*arguments, cache.number)
    return _get(cache, *arguments)


@custom_op(
    'mmdcls::kept_kernel',
    '(Tensor weight, Tensor positions, Tensor? sigma, int[] kernel_size, '
    'str interpolation, Tensor cache_number) -> Tensor',
)
def _kept_kernel(weight, positions, sigma, kernel_size, interpolation, cache_number):
    # A cache is gone if its layer is and the compiled code is not.
    cache = _caches.get(cache_number.item()) or KernelCache()
    kernel = _get(cache, weight, positions, sigma, kernel_size, interpolation)
    # PyTorch's compiler may write to what an operator returned, once it is read.
    return kernel.clone()


@_kept_kernel.register_fake
def _(weight, positions, sigma, kernel_size, interpolation, cache_number):
    return weight.new_empty((*weight.shape[:-1], *kernel_size))


def _get(cache, weight, positions, sigma, kernel_size, interpolation):
    def build(weight, positions, sigma):
        check_numbers(positions)
        return construct_kernel(
            weight, positions, kernel_size, interpolation=interpolation, sigma=sigma
        ).contiguous()

    return cache.get(build, weight, positions, sigma)


def is_readable(tensor: Tensor) -> bool:
    """Tell whether code may depend on the values: of a plain CPU tensor, eagerly."""
    return _is_plain(tensor) and not is_compiling()


def can_keep(*sources: Tensor | None) -> bool:
    """Tell whether :func:`keep_kernel` works with these tensors, and helps.

    They must need no gradient and be readable, or become so when the compiled model
    runs. An exported one has to run without this package.
    """
    given = [source for source in sources if source is not None]
    if torch.is_grad_enabled() and any(source.requires_grad for source in given):
        return False
    return all(map(_is_plain, given)) and not (is_compiling() and may_be_exporting())


def check_numbers(positions: Tensor) -> None:
    """Raise an ``ArgumentError`` where positions are NaN; they must be readable."""
    if positions.isnan().any():
        raise ArgumentError('positions are NaN; the training that made them diverged')


def _is_plain(tensor):
    return (
        type(tensor) in (Tensor, Parameter)
        and tensor.device.type == 'cpu'
        and not torch.jit.is_tracing()
    )


def _same(copy, source):
    if copy is None or source is None:
        return copy is source
    return copy.dtype == source.dtype and torch.equal(copy, source)
