"""The documents: links lead somewhere, and commands name tools and flags that exist."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from mmdcls.ops.benchmark import roofline
from mmdcls.ops.benchmark.complete import insert_report

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob('*.md'), *ROOT.glob('docs/*.md'), *ROOT.glob('configs/*/*.md')]
PAGES += [ROOT / 'tests/README.md']
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def anchors(page):
    """The names that a host gives to the headings of a page."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
    kept = (re.sub(r'[^\w\- ]', '', heading.lower()) for heading in headings)
    return {heading.replace(' ', '-') for heading in kept}


def commands(page):
    """The shell commands of a page, each in one line."""
    blocks = re.findall(r'```(?:shell|bash)\n(.*?)```', page.read_text(), re.DOTALL)
    for block in blocks:
        yield from block.replace('\\\n', ' ').splitlines()


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if target.startswith(('http://', 'https://')):
            continue
        path, _, anchor = target.partition('#')
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_is_linked():
    readme = (ROOT / 'README.md').read_text()
    for page in ROOT.glob('docs/*.md'):
        assert f'](docs/{page.name})' in readme, page.name


@pytest.fixture
def flags_of(monkeypatch, capsys):
    """A function of a tool that gives the flags of its ``--help``."""
    known = {}

    def flags(tool):
        if tool not in known:
            monkeypatch.chdir(ROOT)
            monkeypatch.setattr(sys, 'argv', [tool, '--help'])
            with pytest.raises(SystemExit):
                runpy.run_path(tool, run_name='__main__')
            known[tool] = set(re.findall(r'--[a-z][\w-]*', capsys.readouterr().out))
        return known[tool]

    return flags


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_commands_name_tools_and_flags_that_exist(page, flags_of):
    for command in commands(page):
        words = shlex.split(command, comments=True)
        tools = [word for word in words if re.match(r'tools/.*\.py$', word)]
        for tool in tools:
            assert (ROOT / tool).is_file(), command
            after = words[words.index(tool) :]
            used = {word.partition('=')[0] for word in after if word.startswith('--')}
            assert used <= flags_of(tool), command


@pytest.mark.parametrize('page', PAGES, ids=IDS)
def test_targets_of_make_exist(page):
    makefile = (ROOT / 'Makefile').read_text()
    targets = re.search(r'^\.PHONY: (.*)$', makefile, re.MULTILINE)[1].split()
    for command in commands(page):
        words = [
            word for word in shlex.split(command, comments=True) if '=' not in word
        ]
        if words[:1] == ['make']:
            assert set(words[1:]) <= set(targets), command


def test_dockerfile_copies_what_exists():
    text = (ROOT / 'Dockerfile').read_text()
    for sources in re.findall(r'^COPY (.*) \S+$', text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split()), sources
    stages = re.findall(r'^FROM \S+ AS (\w+)$', text, re.MULTILINE)
    assert stages == ['cpu', 'cuda']


def test_the_table_of_the_model_is_what_the_command_prints():
    page = (ROOT / 'docs/operators.md').read_text()
    assert f'\n\n{roofline.to_markdown()}\n' in page


def test_the_page_of_operators_takes_a_report_in(tmp_path):
    page = tmp_path / 'operators.md'
    page.write_text((ROOT / 'docs/operators.md').read_text())
    insert_report({'facts': {'device': 'a GPU'}, 'sections': []}, page)
    assert '- device: a GPU\n' in page.read_text()


def test_the_tests_of_every_module_are_known():
    """In a file of its own, or where tests/README.md says."""
    table = (ROOT / 'tests/README.md').read_text().partition('|---')[2]
    told = re.findall(r'`([\w/]+\.py)`', table)
    modules = {
        str(path.relative_to(ROOT / 'mmdcls'))
        for path in (ROOT / 'mmdcls').rglob('[!_]*.py')
        if '.mim' not in path.parts
    }
    listed = {name for name in told if not Path(name).name.startswith('test_')}
    for name in set(told) - listed:
        assert (ROOT / 'tests' / name).is_file(), name
    with_own_file = {
        name
        for name in modules
        if (ROOT / 'tests' / name).with_name(f'test_{Path(name).name}').is_file()
    }
    assert listed == modules - with_own_file
