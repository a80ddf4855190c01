import pytest
import torch

from mmdcls.checkpoints.comparison import check_state_dict, compare_state_dicts
from mmdcls.engine import CheckpointError

MODEL = {'a': torch.zeros(2), 'b': torch.zeros(3, device='meta')}


def test_equal_names_and_shapes_are_no_difference():
    assert not compare_state_dicts(MODEL, {'b': torch.ones(3), 'a': torch.ones(2)})
    check_state_dict(MODEL, MODEL, 'x.pth', 'the model')


def test_every_kind_of_difference_is_listed():
    found = {'b': torch.zeros(4), 'c': torch.zeros(1)}
    differences = compare_state_dicts(MODEL, found)
    assert differences.missing == ['a'] and differences.unexpected == ['c']
    assert differences.resized == ["'b' is (4,) in the file and (3,) in the model"]
    counts = '(1 missing, 1 unexpected, 1 of another shape)'
    assert str(differences) == f'{differences.resized[0]} {counts}'


def test_tensors_go_by_their_names_in_the_file():
    found = {'a': torch.zeros(1), 'c': torch.zeros(1)}
    differences = compare_state_dicts(MODEL, found, {'a': 'old.a', 'c': 'old.c'})
    assert differences.unexpected == ['old.c'] and "'old.a'" in differences.resized[0]


@pytest.mark.parametrize(
    'found, sentence',
    [
        ({'a': MODEL['a']}, "there is no 'b' (1 missing, 0 unexpected, 0"),
        ({**MODEL, 'c': MODEL['a']}, "the model has no 'c' (0 missing, 1 unexpected"),
    ],
    ids=['missing', 'unexpected'],
)
def test_the_first_difference_is_named_beside_file_and_model(found, sentence):
    with pytest.raises(CheckpointError) as error:
        check_state_dict(MODEL, found, 'x.pth', 'the model of y.py')
    assert f"'x.pth' does not fit the model of y.py: {sentence}" in str(error.value)
