"""choose_backend: the table's nearest entry, or ATen where that cannot run."""

import torch
from helpers.versions import needs_triton

from mmdcls.ops.backends import BACKENDS, selection
from mmdcls.ops.backends.selection import choose_backend


def chosen(kernel_size, size):
    x = torch.zeros(1, 2, *size)
    module = choose_backend('forward', x, kernel_size, (1, 1))
    return module.__name__.split('.')[-1]


def set_table(monkeypatch, rows, map_sizes):
    choices = {('cpu', 'float32'): {'forward': rows}}
    monkeypatch.setattr(selection, 'CHOICES', choices)
    monkeypatch.setattr(selection, 'MAP_SIZES', map_sizes)


def test_automatic_choice_passes_over_what_cannot_run(monkeypatch):
    set_table(monkeypatch, {7: ('row_dft',)}, (7,))
    assert chosen((3, 3), (4, 4)) == 'row_dft'
    monkeypatch.setattr(BACKENDS['row_dft'], 'can_run', lambda *args, **kwargs: False)
    assert chosen((3, 3), (4, 4)) == 'aten'


@needs_triton
def test_automatic_choice_takes_the_nearest_sizes(monkeypatch):
    set_table(monkeypatch, {7: ('aten', 'fft'), 31: ('row_dft', 'triton')}, (8, 32))
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    assert chosen((3, 3), (7, 7)) == 'aten'
    assert chosen((14, 15), (16, 17)) == 'fft'
    assert chosen((15, 15), (16, 16)) == 'row_dft'
    assert chosen((51, 51), (100, 9)) == 'triton'


def test_what_is_not_listed_runs_on_aten(monkeypatch):
    monkeypatch.setattr(selection, 'CHOICES', {})
    assert chosen((17, 17), (56, 56)) == 'aten'


def test_what_was_measured_comes_before_the_table(monkeypatch):
    set_table(monkeypatch, {7: ('aten',)}, (7,))
    monkeypatch.setattr(selection.tuning, 'choose', lambda *arguments: 'fft')
    assert chosen((3, 3), (4, 4)) == 'fft'
