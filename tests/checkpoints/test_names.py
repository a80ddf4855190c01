import pytest
import torch

from mmdcls.checkpoints.names import (
    find_state_dict,
    note_unknown_prefix,
    strip_wrappers,
)

NAME = 'stages.0.0.dwconv.weight'


@pytest.mark.parametrize(
    'wrapped',
    [
        f'module.{NAME}',
        f'module.module.{NAME}',
        f'model.{NAME}',
        f'net.{NAME}',
        f'model.module.net.{NAME}',
        f'_orig_mod.{NAME}',
        f'module._orig_mod.{NAME}',
        f'_orig_mod.module.{NAME}',
        'stages._orig_mod.0.0._orig_mod.dwconv.weight',
        'stages.0._fsdp_wrapped_module.0._checkpoint_wrapped_module.dwconv.weight',
        f'_forward_module.model.{NAME}',
    ],
)
def test_known_wrappers_are_stripped_however_nested(wrapped):
    value = torch.ones(1)
    stripped = strip_wrappers({wrapped: value})
    assert list(stripped) == [NAME]
    assert stripped[NAME] is value


@pytest.mark.parametrize('name', [NAME, 'student.head.bias', 'modules.w', 'a.model.w'])
def test_other_names_stay(name):
    assert strip_wrappers({name: 1}) == {name: 1}


def test_parts_that_the_model_has_stay():
    expected = {'model.head.bias'}
    for name in ('model.head.bias', 'model.model.head.bias', 'module.model.head.bias'):
        assert strip_wrappers({name: 1}, expected) == {'model.head.bias': 1}


@pytest.mark.parametrize('names', [['a', 'module.a'], ['module.a', 'a']])
def test_no_tensor_is_lost_where_two_have_the_same_name(names):
    state_dict = {name: name for name in names}
    assert strip_wrappers(state_dict) == state_dict
    assert strip_wrappers({'net.a': 1, 'module.a': 2}) == {'a': 1, 'module.a': 2}


@pytest.mark.parametrize('counter', ['n_averaged', 'steps'])
def test_counter_of_averaged_models_is_left_out(counter):
    assert strip_wrappers({counter: 7, 'module.a': 1}) == {'a': 1}
    assert strip_wrappers({counter: 7, 'a': 1}) == {counter: 7, 'a': 1}
    assert strip_wrappers({counter: 7, 'module.a': 1}, [counter]) == {
        counter: 7,
        'a': 1,
    }


@pytest.mark.parametrize(
    'content, prefer_ema, expected',
    [
        ({'a': 1}, True, ('bare', {'a': 1})),
        (
            {'state_dict': {'a': 1}, 'model_ema': {'a': 2}},
            False,
            ('state_dict', {'a': 1}),
        ),
        (
            {'state_dict': {'a': 1}, 'model_ema': {'a': 2}},
            True,
            ('model_ema', {'a': 2}),
        ),
        ({'module': {'a': 1}, 'optimizer': {}}, True, ('module', {'a': 1})),
        ({'ema_state_dict': {'a': 2}, 'state_dict': {}}, True, ('state_dict', {})),
    ],
)
def test_finds_the_tensors(content, prefer_ema, expected):
    assert find_state_dict(content, prefer_ema) == expected


def test_names_the_first_part_that_all_names_share():
    assert "begin with 'student.'" in note_unknown_prefix(['student.a', 'student.b.c'])
    assert note_unknown_prefix(['student.a', 'teacher.a']) == ''
    assert note_unknown_prefix(['student']) == note_unknown_prefix([]) == ''
