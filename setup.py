"""Build and metadata of mmdcls: version ranges here, exact pins in requirements/."""

import os
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

ROOT = Path(__file__).resolve().parent

# OpenMMLab is published twice under the same import names. Requiring either line
# would overwrite the other one, so both are extras and neither is a dependency.
OPENMMLAB = [
    'mmengine>=0.10.5,<1',
    'mmcv>=2.0.0,<2.2',
    'mmdet>=3.2,<4',
    'mmsegmentation>=1.2,<2',
    'mmpretrain>=1.1,<2',
    'ftfy',
    'regex',
]
ONEDL = [
    'onedl-mmengine>=0.10.12,<1',
    'onedl-mmcv>=2.3.6,<3',
    'onedl-mmdetection>=3.5.1,<4',
    'onedl-mmsegmentation>=1.4.2,<2',
    'onedl-mmpretrain>=1.3.6,<2',
    'ftfy',
    'regex',
]

INSTALL_REQUIRES = ['torch>=2.1', 'numpy>=1.24']
EXTRAS_REQUIRE = {
    'openmmlab': OPENMMLAB,
    'onedl': ONEDL,
    'tools': ['matplotlib>=3.7', 'rich>=13'],
    'mini': ['scikit-image>=0.22', 'scikit-learn>=1.3'],
    'robustness': ['timm>=1.0', 'imagecorruptions-imaug>=1.1.5'],
    'deploy': [
        'onnx>=1.16',
        'onnxruntime>=1.18',
        'onnxscript>=0.5',
        'safetensors>=0.4.3',
    ],
    'tests': [
        'check-jsonschema>=0.36',
        'codespell>=2.4',
        'dcls>=0.1.1',
        'hypothesis>=6.100',
        'mypy>=1.19',
        'openmim>=0.3.9',
        'pre-commit>=4',
        'pytest>=8',
        'pytest-timeout>=2.3',
        'pytest-xdist>=3.5',
        'ruff>=0.17',
    ],
}
EXTRAS_REQUIRE['all'] = [
    requirement
    for extra in ('openmmlab', 'tools', 'mini', 'robustness', 'deploy', 'tests')
    for requirement in EXTRAS_REQUIRE[extra]
]

# Where OpenMMLab's `mim` looks for a package's configs, tools and model index.
MIM_ENTRIES = ('configs', 'tools', 'model-index.yml', 'dataset-index.yml')


def add_mim_entries(mim_folder: Path, *, link: bool) -> None:
    """Put ``MIM_ENTRIES`` into a package's ``.mim`` folder, replacing what is there.

    Args:
        mim_folder: ``<package>/.mim``, in the source tree or in a build folder.
        link: Relative symbolic links, for installs that follow the source tree;
            otherwise copies.
    """
    mim_folder.mkdir(parents=True, exist_ok=True)
    for name in MIM_ENTRIES:
        source, target = ROOT / name, mim_folder / name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        if not source.exists():
            continue
        if link:
            target.symlink_to(os.path.relpath(source, mim_folder))
        elif source.is_dir():
            shutil.copytree(
                source, target, ignore=shutil.ignore_patterns('__pycache__')
            )
        else:
            shutil.copy2(source, target)


class BuildPyWithMim(build_py):
    """``build_py`` that also fills ``.mim``; editable wheels come through here too."""

    def run(self) -> None:
        """Build the package, then link or copy what `mim` looks for."""
        super().run()
        if self.editable_mode:
            add_mim_entries(ROOT / 'mmdcls' / '.mim', link=True)
        else:
            add_mim_entries(Path(self.build_lib) / 'mmdcls' / '.mim', link=False)


class DevelopWithMim(develop):
    """``setup.py develop``, which does not run ``build_py``."""

    def run(self) -> None:
        """Link what `mim` looks for, then install."""
        add_mim_entries(ROOT / 'mmdcls' / '.mim', link=True)
        super().run()


if __name__ == '__main__':
    setup(
        name='mmdcls',
        version=runpy.run_path(str(ROOT / 'mmdcls' / 'version.py'))['__version__'],
        description='Convolutions with learnable spacings (DCLS) for OpenMMLab',
        long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
        long_description_content_type='text/markdown',
        author='The mmdcls contributors',
        license='Apache-2.0',
        keywords='computer vision, dilated convolution, segmentation, detection',
        classifiers=[
            'Development Status :: 4 - Beta',
            'Operating System :: POSIX :: Linux',
            'Programming Language :: Python :: 3',
            'Programming Language :: Python :: 3.10',
            'Programming Language :: Python :: 3.11',
            'Programming Language :: Python :: 3.12',
        ],
        python_requires='>=3.10',
        packages=find_packages(include=['mmdcls', 'mmdcls.*']),
        include_package_data=True,
        install_requires=INSTALL_REQUIRES,
        extras_require=EXTRAS_REQUIRE,
        cmdclass={'build_py': BuildPyWithMim, 'develop': DevelopWithMim},
        zip_safe=False,
    )
