"""Every bad input of the catalogue ends in the sentence that it is to end in."""

import collections

import pytest

from bad_inputs.cases import try_case
from bad_inputs.catalogue import CASES, write_materials

LEAST = 250


@pytest.fixture(scope='session')
def materials(tmp_path_factory):
    """The files that the catalogue's command lines name."""
    folder = tmp_path_factory.mktemp('materials')
    write_materials(folder)
    return folder


@pytest.mark.parametrize('case', CASES, ids=lambda case: f'{case.theme}: {case.name}')
def test_bad_input(case, materials, tmp_path):
    answer = try_case(case, materials, tmp_path)
    assert answer.kind == 'sentence', answer.text
    assert case.sentence.format(m=materials, out=tmp_path) in answer.text


def test_nothing_of_a_hostile_file_has_run(materials):
    assert not (materials / 'ran').exists()


def test_the_catalogue_is_large_and_lists_nothing_twice():
    counts = collections.Counter(
        (case.where, case.arguments, str(case.environment)) for case in CASES
    )
    assert len(counts) >= LEAST
    assert max(counts.values()) == 1
