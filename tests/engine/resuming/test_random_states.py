import random

import numpy as np
import pytest
import torch

from mmdcls.engine.resuming.random_states import (
    capture_random_states,
    check_random_states,
    kept_random_states,
    restore_random_states,
)


def draw():
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        torch.rand(1).item(),
        torch.randn(1).item(),
    ]


@pytest.mark.parametrize('drawn', [0, 1, 700], ids=lambda n: f'after {n}')
def test_states_survive_a_file(tmp_path, drawn):
    for _ in range(drawn):
        # An odd number of normal numbers: one waits in the generator.
        draw()
    torch.save(capture_random_states(), tmp_path / 'states.pth')
    expected = [draw() for _ in range(3)]
    states = torch.load(tmp_path / 'states.pth', weights_only=True)
    check_random_states(states)
    restore_random_states(states)
    assert [draw() for _ in range(3)] == expected


def test_kept_states_are_as_before():
    states = capture_random_states()
    expected = draw()
    restore_random_states(states)
    with kept_random_states():
        draw()
    assert draw() == expected


def changed(generator, **values):
    states = capture_random_states()
    states[generator].update(values)
    return states


def with_torch_state(state):
    return {**capture_random_states(), 'torch': state}


WORDS = torch.zeros(624, dtype=torch.int64)
HOSTILE = {
    'no dictionary': [1, 2],
    'text': {'python': 'text'},
    'python without words': {'python': {'gauss': None}},
    'python with few words': changed('python', words=WORDS),
    'python beyond its words': changed('python', words=torch.full((625,), 10**6)),
    'python with a text': changed('python', gauss='text'),
    'numpy beyond its words': changed('numpy', position=10**6),
    'numpy before its words': changed('numpy', position=-1),
    'numpy with few words': changed('numpy', words=WORDS[:3]),
    'numpy with negative words': changed('numpy', words=WORDS - 1),
    'numpy with large words': changed('numpy', words=WORDS + 2**32),
    'numpy with fractions': changed('numpy', words=WORDS.double()),
    'numpy with axes': changed('numpy', words=WORDS.view(24, 26)),
    'torch of few bytes': with_torch_state(torch.zeros(7, dtype=torch.uint8)),
    'torch of zeros': with_torch_state(torch.zeros_like(torch.get_rng_state())),
    'torch of floats': with_torch_state(torch.zeros(5056)),
    'torch of ones': with_torch_state(torch.full((5056,), 255, dtype=torch.uint8)),
    'torch with a list': with_torch_state([0] * 5056),
}


@pytest.mark.parametrize('states', HOSTILE.values(), ids=list(HOSTILE))
def test_states_of_no_generator_are_refused(states):
    with pytest.raises(ValueError, match='random state'):
        check_random_states(states)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_state_of_a_gpu():
    states = capture_random_states()
    expected = torch.rand(3, device='cuda')
    check_random_states(states)
    restore_random_states(states)
    assert torch.equal(torch.rand(3, device='cuda'), expected)
    states['cuda'] = torch.zeros(3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="random state 'cuda'"):
        check_random_states(states)
