"""The states of the random number generators of a process, as plain data."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

_MT19937_WORDS = 624
# What random.getstate() begins with since Python 2.6.
_PYTHON_VERSION = 3


def capture_random_states() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and PyTorch's global generators.

    Returns:
        Tensors and numbers by generator, ``'python'``, ``'numpy'``, ``'torch'`` and,
        where there is a GPU, ``'cuda'`` for the process's current one;
        ``torch.load(weights_only=True)`` reads them.
    """
    _, words, gauss = random.getstate()
    states: dict[str, Any] = {
        'python': {'words': torch.tensor(words), 'gauss': gauss},
        'torch': torch.get_rng_state(),
    }
    numpy_state: Any = np.random.get_state(legacy=False)
    if numpy_state['bit_generator'] == 'MT19937':
        states['numpy'] = {
            'words': torch.tensor(numpy_state['state']['key'].astype(np.int64)),
            'position': int(numpy_state['state']['pos']),
            'has_gauss': int(numpy_state['has_gauss']),
            'gauss': float(numpy_state['gauss']),
        }
    if torch.cuda.is_available():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Let the code inside use Python's, NumPy's and PyTorch's CPU generators freely."""
    python, numpy = random.getstate(), np.random.get_state()
    torch_state = torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)


def check_random_states(states: object) -> None:
    """Refuse what no generator could be in, before any generator is touched.

    Args:
        states: What a checkpoint holds in the place of
            :func:`capture_random_states`'s result.

    Raises:
        ValueError: If it cannot be that; the message names the generator.
    """
    if not isinstance(states, Mapping):
        raise ValueError(f'the random states are a {type(states).__name__}')
    trials = {
        'python': lambda state: random.Random().setstate(_python_state(state)),
        'numpy': lambda state: np.random.RandomState().set_state(_numpy_state(state)),
        'torch': lambda state: torch.Generator().set_state(_torch_state(state)),
    }
    if torch.cuda.is_available():
        trials['cuda'] = lambda state: torch.Generator('cuda').set_state(
            _torch_state(state)
        )
    for name, trial in trials.items():
        if name in states:
            try:
                trial(states[name])
            except (TypeError, ValueError, KeyError, OverflowError, RuntimeError) as e:
                reason = str(e).splitlines()[0] if str(e) else type(e).__name__
                raise ValueError(
                    f"the random state '{name}' is none of a generator ({reason})"
                ) from e


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put the global generators into states of :func:`capture_random_states`.

    Args:
        states: The states, as :func:`check_random_states` accepts them. A generator
            that is not among them stays as it is.
    """
    if 'python' in states:
        random.setstate(_python_state(states['python']))
    if 'numpy' in states:
        np.random.set_state(_numpy_state(states['numpy']))
    if 'torch' in states:
        torch.set_rng_state(_torch_state(states['torch']))
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(_torch_state(states['cuda']))


def _python_state(state: Mapping[str, Any]) -> tuple:
    words = tuple(map(int, _words(state['words'])))
    gauss = state['gauss']
    return _PYTHON_VERSION, words, None if gauss is None else float(gauss)


def _numpy_state(state: Mapping[str, Any]) -> dict[str, Any]:
    words, position = _words(state['words']), int(state['position'])
    # NumPy itself does not look, and would read beyond the end of its memory.
    if len(words) != _MT19937_WORDS or not 0 <= position <= _MT19937_WORDS:
        raise ValueError(f'{len(words)} words, position {position}')
    return {
        'bit_generator': 'MT19937',
        'state': {'key': words.astype(np.uint32), 'pos': position},
        'has_gauss': int(bool(state['has_gauss'])),
        'gauss': float(state['gauss']),
    }


def _words(tensor: Tensor) -> np.ndarray:
    """Return a generator's words of 32 bits."""
    words = tensor.cpu().numpy()
    if words.dtype != np.int64 or words.ndim != 1:
        raise ValueError(f'an array of {words.dtype} with {words.ndim} axes')
    if len(words) > _MT19937_WORDS + 1 or ((words < 0) | (words >= 2**32)).any():
        raise ValueError('numbers that are no words of 32 bits')
    return words


def _torch_state(state: Tensor) -> Tensor:
    if not isinstance(state, Tensor):
        raise TypeError(f'a {type(state).__name__}')
    # A checkpoint may have been read onto the GPU, where generators take no state from.
    return state.cpu()
