"""A room imports only from rooms below it, also inside functions."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mmdcls

PACKAGE = Path(mmdcls.__file__).parent

# From the top down. What stands in one line is a room; a module of the package's own
# folder is a room, too.
ROOMS = """
command_line
paper
robustness
analysis
deployment
apis
converters
engine
models
testing
evaluation
datasets
registry
checkpoints
layers
ops
configs
progress
locks
files
compat
environment
sentences
errors
version
""".splitlines()[1:]


def room_of(module: str) -> str:
    parts = module.split('.')
    return parts[1] if len(parts) > 1 else ''


def imported_modules(path: Path) -> set[str]:
    """Every module of the package that a file imports, wherever the import stands."""
    parts = ['mmdcls', *path.relative_to(PACKAGE).with_suffix('').parts]
    package = parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = '.'.join([*base, *([node.module] if node.module else [])])
            names = [f'{base}.{alias.name}' for alias in node.names]
        else:
            continue
        found.update(name for name in names if name.split('.')[0] == 'mmdcls')
    return found


FILES = sorted(path for path in PACKAGE.rglob('*.py') if '.mim' not in path.parts)
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]


@pytest.mark.parametrize('path', FILES, ids=IDS)
def test_imports_run_downward(path):
    own = path.relative_to(PACKAGE).with_suffix('').parts[0]
    for module in imported_modules(path):
        room = room_of(module)
        if own != '__init__' and room in ROOMS and room != own:
            assert ROOMS.index(own) < ROOMS.index(room), f'{own} imports {module}'


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(part for part in parts if part != '__init__')


def test_no_circle_within_a_room():
    modules = {module_of(path): path for path in FILES}
    graph = {}
    for module, path in modules.items():
        found = imported_modules(path)
        # `from package import name` is of the module `package.name`, or of the package.
        graph[module] = {
            name if name in modules else name.rpartition('.')[0] for name in found
        }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(' -> '.join(error.args[1]))


def test_every_room_is_listed():
    rooms = {path.relative_to(PACKAGE).with_suffix('').parts[0] for path in FILES}
    assert rooms - {'__init__'} == set(ROOMS)
