"""The built package: what is in it, and what mim makes of it once it is installed."""

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CLASSIFIER = 'convnext-dcls-atto_1xb32-mini_in1k-64px'
RELEASED = 'convnext-dcls-tiny_32xb128_in1k'


def copy_source(folder):
    """Copy what the package is built from."""
    folder.mkdir()
    ignore = shutil.ignore_patterns('.mim', '__pycache__')
    for name in ('configs', 'mmdcls', 'requirements', 'tools'):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    names = [
        'setup.py',
        'pyproject.toml',
        'MANIFEST.in',
        'LICENSE',
        'README.md',
        'CHANGELOG.md',
    ]
    for name in (*names, 'model-index.yml', 'dataset-index.yml'):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture
def source(tmp_path):
    return copy_source(tmp_path / 'source')


def build(source, kind, out):
    """Run a PEP 517 hook; returns the path of what it built."""
    out.mkdir()
    hook = f'from setuptools import build_meta as b; b.build_{kind}({str(out)!r})'
    done = subprocess.run(
        [sys.executable, '-c', hook], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    return built


def expected_mim_files():
    return {
        f'mmdcls/.mim/{path.relative_to(ROOT)}'
        for folder in ('configs', 'tools')
        for path in (ROOT / folder).rglob('*.*')
        if path.is_file() and '__pycache__' not in path.parts
    } | {'mmdcls/.mim/model-index.yml', 'mmdcls/.mim/dataset-index.yml'}


def test_wheel_holds_configs_and_tools(source, tmp_path):
    wheel = build(source, 'wheel', tmp_path / 'out')
    version = runpy.run_path(str(ROOT / 'mmdcls' / 'version.py'))['__version__']
    assert wheel.name == f'mmdcls-{version}-py3-none-any.whl'
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected_mim_files() <= names
    assert not (source / 'mmdcls' / '.mim').exists()


def test_wheel_of_sdist_holds_configs_and_tools(source, tmp_path):
    sdist = build(source, 'sdist', tmp_path / 'sdist')
    shutil.unpack_archive(sdist, tmp_path / 'unpacked', filter='data')
    (unpacked,) = (tmp_path / 'unpacked').iterdir()
    wheel = build(unpacked, 'wheel', tmp_path / 'wheel')
    assert expected_mim_files() <= set(zipfile.ZipFile(wheel).namelist())


def test_editable_install_links_configs_and_tools(source, tmp_path):
    stale = source / 'mmdcls' / '.mim' / 'configs'
    stale.mkdir(parents=True)
    build(source, 'editable', tmp_path / 'out')
    for name in ('configs', 'tools', 'model-index.yml', 'dataset-index.yml'):
        link = source / 'mmdcls' / '.mim' / name
        assert link.is_symlink()
        assert link.resolve() == source / name


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A folder with the wheel in it, as pip installs it."""
    folder = tmp_path_factory.mktemp('installed')
    wheel = build(copy_source(folder / 'source'), 'wheel', folder / 'wheel')
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps']
    subprocess.run([*pip, '--target', folder / 'site', wheel], check=True)
    return folder / 'site'


def run_installed(installed, folder, *arguments):
    """Run a module of Python in ``folder``, with the installed wheel on its path."""
    done = subprocess.run(
        [sys.executable, '-m', *map(str, arguments)],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(installed), 'PYTHONWARNINGS': 'ignore'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_mim_finds_every_model(installed, tmp_path):
    found = run_installed(installed, tmp_path, 'mim', 'search', 'mmdcls')
    names = {path.stem for path in (ROOT / 'configs').glob('[!_]*/*.py')}
    listed = {
        line.removeprefix('config id: ').strip()
        for line in found.splitlines()
        if line.startswith('config id: ')
    }
    assert listed == names


def test_what_mim_downloads_is_converted(installed, tmp_path):
    """mim leaves a file alone that is there, here a model in the authors' layout."""
    import torch
    from helpers.official_models import make

    metafile = yaml.safe_load((ROOT / 'configs/imagenet/metafile.yml').read_text())
    (model,) = (entry for entry in metafile['Models'] if entry['Name'] == RELEASED)
    file = tmp_path / model['Weights'].rpartition('/')[2]
    torch.save({'model': make('cls', 'tiny').state_dict()}, file)
    download = ('mim', 'download', 'mmdcls', '--config', RELEASED, '--dest', '.')
    run_installed(installed, tmp_path, *download)
    config, converted = tmp_path / f'{RELEASED}.py', tmp_path / 'converted.pth'
    run_installed(
        *(installed, tmp_path, 'mim', 'run', 'mmdcls', 'official_to_mmdcls'),
        *(file, converted, '--clamp'),
    )
    count = run_installed(
        *(installed, tmp_path, 'mim', 'run', 'mmdcls', 'fold'),
        *(config, converted, tmp_path / 'folded.pth'),
    )
    assert '18 DCLS layers' in count


@pytest.mark.slow
def test_mim_trains_and_tests(installed, tmp_path):
    from mmdcls.testing import make_mini

    make_mini(tmp_path / 'data', ['imagenet'], train=32, val=10)
    common = (
        '--work-dir',
        tmp_path / 'work',
        '--data-root',
        tmp_path / 'data/imagenet',
    )
    run_installed(
        *(installed, tmp_path, 'mim', 'train', 'mmdcls', f'{CLASSIFIER}.py'),
        *('--gpus', 0, *common, '--cfg-options', 'train_cfg.max_epochs=2'),
    )
    checkpoint = tmp_path / 'work/epoch_2.pth'
    output = run_installed(
        *(installed, tmp_path, 'mim', 'test', 'mmdcls', f'{CLASSIFIER}.py'),
        *('--checkpoint', checkpoint, '--gpus', 0, *common),
    )
    assert checkpoint.is_file() and output


@pytest.mark.parametrize('name', ['coco2017', 'imagenet1k'])
def test_downloads_of_data_sets_are_laid_out(tmp_path, name):
    index = yaml.safe_load((ROOT / 'dataset-index.yml').read_text())
    content = tmp_path / 'content'
    raw = tmp_path / 'download' / index[name]['dataset'].replace('/', '___') / 'raw'
    if name == 'coco2017':
        for archive, file in (
            ('Images/train2017', 'train2017/a.jpg'),
            ('Images/val2017', 'val2017/b.jpg'),
            ('Annotations/annotations_trainval2017', 'annotations/c.json'),
        ):
            (raw / archive).parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(raw / f'{archive}.zip', 'w') as file_of:
                file_of.writestr(file, 'content')
        wanted = ['annotations/c.json', 'train2017/a.jpg', 'val2017/b.jpg']
    else:
        (content / 'train/n01').mkdir(parents=True)
        (content / 'train/n01/a.JPEG').write_text('content')
        raw = tmp_path / 'download/ImageNet-1K/raw'
        raw.mkdir(parents=True)
        with tarfile.open(tmp_path / 'all.tar.gz', 'w:gz') as archive:
            archive.add(content, 'ImageNet-1K')
        whole = (tmp_path / 'all.tar.gz').read_bytes()
        (raw / 'ImageNet-1K.tar.gz.00').write_bytes(whole[:40])
        (raw / 'ImageNet-1K.tar.gz.01').write_bytes(whole[40:])
        wanted = ['train/n01/a.JPEG']
    script = ROOT / index[name]['script']
    target = tmp_path / 'data'
    subprocess.run([script, tmp_path / 'download', target], check=True)
    found = sorted(str(p.relative_to(target)) for p in target.rglob('*') if p.is_file())
    assert found == wanted
    empty = tmp_path / 'empty'
    empty.mkdir()
    done = subprocess.run([script, empty, target], capture_output=True, text=True)
    assert done.returncode == 1 and 'error: there is no' in done.stderr
