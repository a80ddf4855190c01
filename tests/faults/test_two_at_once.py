"""Of two runs that would write into one folder, the second is refused."""

import pytest
from bad_inputs.cases import Case, try_case
from bad_inputs.materials import write_materials
from helpers.holding import held_by_another

ROBUSTNESS = (
    '{m}/cls.py {m}/cls.pth --data-root {m}/data --out {out}/r --benchmarks clean '
    '--work-dir {out}/w'
)
RUNS = [
    ('train.py', '{m}/cls.py --work-dir {out}/w --no-validate', 'w'),
    ('robustness.py', ROBUSTNESS, 'r'),
]


@pytest.fixture(scope='module')
def materials(tmp_path_factory):
    folder = tmp_path_factory.mktemp('materials')
    write_materials(folder)
    return folder


@pytest.mark.parametrize('tool, arguments, folder', RUNS, ids=['train', 'robustness'])
def test_the_second_is_refused_and_the_next_is_not(
    tool, arguments, folder, materials, tmp_path
):
    case = Case('two at once', tool, arguments, '')
    with held_by_another(tmp_path / folder) as pid:
        answer = try_case(case, materials, tmp_path)
        left = [path.name for path in (tmp_path / folder).iterdir()]
    assert answer.kind == 'sentence', answer.text
    assert f"'{tmp_path / folder}' is in use by process {pid} on " in answer.text
    assert left == ['.mmdcls.lock']
    answer = try_case(case, materials, tmp_path)
    assert answer.kind == 'accepted', answer.text
    assert not (tmp_path / folder / '.mmdcls.lock').exists()
