"""Environments that cannot work are told in one sentence that says what mends them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import mmcv
import pytest

from mmdcls import environment
from mmdcls.errors import IncompatiblePackageError

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {
    'mmdet': 'configs/mini/cascade-mask-rcnn_convnext-dcls-atto_fpn_1xb4-mini_coco.py',
    'mmseg': 'configs/mini/upernet_convnext-dcls-atto_1xb8-mini_ade20k-128x128.py',
}


def write_distribution(site, name, version):
    """Write what tells that a distribution is installed."""
    info = site / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(f'Name: {name}\nVersion: {version}\n')


def run(site, *arguments):
    """Run Python where the folder ``site`` comes before what is installed."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': f'{site}:{ROOT}', 'PYTHONWARNINGS': 'ignore'},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def refusal(site, *arguments):
    """What the package says in an environment that it refuses."""
    done = run(site, *arguments)
    assert done.returncode == 1, done.stdout
    last = done.stderr.strip().splitlines()[-1]
    return re.sub(r'^(error|mmdcls\.errors\.IncompatiblePackageError): ', '', last)


@pytest.fixture
def versions(monkeypatch):
    """Distributions with the versions that seem to be installed, and no others."""
    installed = {}

    def version(name):
        if name not in installed:
            raise environment.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(environment, 'version', version)
    environment.check_openmmlab.cache_clear()
    yield installed
    environment.check_openmmlab.cache_clear()


@pytest.mark.parametrize(
    'installed, sentence',
    [
        (
            {'torch': '2.0.1+cu118', 'numpy': '1.26.4'},
            'torch 2.0.1+cu118 is installed, and mmdcls needs 2.1 or later: '
            "`pip install 'torch>=2.1'` mends it.",
        ),
        (
            {'torch': '2.1.2', 'numpy': '2.0.0'},
            'NumPy 2.0.0 is installed, and PyTorch 2.1.2 accepts versions below 2: '
            "`pip install 'numpy<2'` mends it.",
        ),
        (
            {'torch': '2.1.2', 'numpy': '1.23.5'},
            'numpy 1.23.5 is installed, and mmdcls needs 1.24 or later: '
            "`pip install 'numpy>=1.24'` mends it.",
        ),
    ],
    ids=['old torch', 'new numpy', 'old numpy'],
)
def test_pytorch_and_numpy(versions, installed, sentence):
    versions.update(installed)
    with pytest.raises(IncompatiblePackageError, match=f'^{re.escape(sentence)}$'):
        environment.check_pytorch()


@pytest.mark.parametrize(
    'torch, numpy',
    [
        ('2.1.2', '1.26.4'),
        ('2.3.0', '2.0.0'),
        ('2.10.0a0+git12', '2.4.6'),
        ('3.0', None),
    ],
)
def test_what_goes_together(versions, torch, numpy):
    versions['torch'] = torch
    if numpy:
        versions['numpy'] = numpy
    environment.check_pytorch()


@pytest.mark.parametrize('name', ['mmcv', 'mmdet', 'onedl-mmengine'])
def test_an_old_package(versions, name):
    versions[name] = '0.9.1.post1'
    module = 'mmdet' if name == 'mmdet' else 'mmengine'
    with pytest.raises(IncompatiblePackageError) as error:
        environment.check_openmmlab(module)
    oldest = environment._oldest(name)
    assert str(error.value) == (
        f'{name} 0.9.1.post1 is installed, and mmdcls needs {oldest} or later: '
        f"`pip install '{name}>={oldest}'` mends it."
    )


def test_every_package_has_an_oldest_version():
    for distributions in environment.OPENMMLAB.values():
        for name in distributions:
            assert re.fullmatch(r'[\d.]+', environment._oldest(name)), name


def test_both_lines(tmp_path):
    for name in ('mmengine', 'onedl-mmengine'):
        write_distribution(tmp_path, name, '0.10.12')
    sentence = refusal(tmp_path, '-c', 'import mmdcls.registry')
    assert sentence == (
        'mmengine and onedl-mmengine are both installed, and write over each other: '
        '`pip uninstall mmengine onedl-mmengine`, then install one of them anew.'
    )
    # The layers need neither.
    assert run(tmp_path, '-c', 'import mmdcls.layers').returncode == 0


def write_mmcv(site, error):
    """Write the installed MMCV with operators that raise ``error``, or without any."""
    write_distribution(site, 'mmcv', '2.1.0')
    folder = site / 'mmcv'
    folder.mkdir()
    for path in Path(mmcv.__file__).parent.iterdir():
        if not path.name.startswith('_ext'):
            (folder / path.name).symlink_to(path)
    if error:
        (folder / '_ext.py').write_text(f'raise ImportError({error!r})\n')


@pytest.mark.parametrize('package', list(CONFIGS))
@pytest.mark.parametrize(
    'error, trouble',
    [
        (None, 'none'),
        (
            '/site/mmcv/_ext.so: undefined symbol: _ZNK3c1010TensorImpl',
            'operators that do not load (/site/mmcv/_ext.so: undefined symbol: '
            '_ZNK3c1010TensorImpl)',
        ),
    ],
    ids=['none', 'foreign'],
)
def test_operators_of_mmcv(tmp_path, package, error, trouble):
    write_mmcv(tmp_path, error)
    sentence = refusal(tmp_path, 'tools/train.py', CONFIGS[package])
    assert sentence.startswith(
        f"{package} needs MMCV's operators, compiled for PyTorch "
    )
    assert f', and the installed MMCV 2.1.0 has {trouble}: `pip ' in sentence
    assert '--no-build-isolation mmcv==2.1.0` compiles them.' in sentence


def test_what_upstream_refuses(tmp_path):
    (tmp_path / 'mmpretrain').mkdir()
    (tmp_path / 'mmpretrain/__init__.py').write_text(
        "assert False, 'MMCV==2.2.0 is used but incompatible. Please install mmcv<2.2.'"
    )
    write_distribution(tmp_path, 'mmpretrain', '1.2.0')
    assert refusal(tmp_path, '-c', 'import mmdcls.models') == (
        'mmpretrain 1.2.0 refuses this environment: MMCV==2.2.0 is used but '
        'incompatible. Please install mmcv<2.2.'
    )


@pytest.mark.parametrize(
    'code',
    ['import mmdcls.models', 'import mmdcls.configs as c; c.read_config({!r})'],
    ids=['models', 'config'],
)
def test_a_transformers_that_is_too_new(tmp_path, code):
    """As transformers 5 is: without something that mmpretrain 1.2 takes from it."""
    write_distribution(tmp_path, 'transformers', '5.1.0')
    (tmp_path / 'transformers').mkdir()
    (tmp_path / 'transformers/__init__.py').touch()
    sentence = refusal(tmp_path, '-c', code.format(CONFIGS['mmseg']))
    assert re.fullmatch(
        r'mmpretrain [\d.]+ cannot be imported beside transformers 5.1.0 '
        r"\(cannot import .*\): `pip install 'transformers<5'` mends it.",
        sentence,
    )


def test_an_old_python():
    code = (
        'import sys; sys.version_info = (3, 9, 1)\n'
        'sys.version = "3.9.1 (main)"\nimport mmdcls'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1] == (
        'ImportError: This is Python 3.9.1, and mmdcls needs 3.10 or later.'
    )
