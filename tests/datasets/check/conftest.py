"""Sound mini data, and copies of them to damage."""

import shutil
from pathlib import Path

import pytest

from mmdcls.testing import make_mini


@pytest.fixture(scope='session')
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sound')
    make_mini(folder, ['ade20k', 'coco'], train=3, val=2)
    make_mini(folder, ['imagenet'], train=10, val=10)
    return folder


@pytest.fixture
def mini(sound, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(sound, tmp_path / 'mini'))
