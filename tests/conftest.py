"""Fixtures for tests of several rooms.

They import what they need when a test asks for them: tests of the layers start without
OpenMMLab's packages.
"""

import gc
import importlib.metadata
import os
import shutil
import sys

import pytest


def pytest_collection_finish():
    """Take what was imported from the garbage collector's view.

    mmengine's data sets collect garbage when they are built, which takes a second where
    PyTorch and all of OpenMMLab's packages are loaded.
    """
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup():
    """Skip what needs MMCV's compiled operators where they are left out on purpose."""
    return (yield from skip_for_mmcv_lite())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """Do the same for the test itself."""
    return (yield from skip_for_mmcv_lite())


def skip_for_mmcv_lite():
    try:
        return (yield)
    except Exception as error:
        if lacks_compiled_operators(error):
            pytest.skip('it needs MMCV with compiled operators, and mmcv-lite is here')
        raise


def lacks_compiled_operators(error):
    """Tell whether mmcv-lite is installed, and an error comes of that."""
    try:
        importlib.metadata.version('mmcv-lite')
    except importlib.metadata.PackageNotFoundError:
        return False
    while error is not None:
        if isinstance(error, ImportError) and 'mmcv._ext' in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@pytest.fixture(autouse=True)
def poisoned_memory():
    """Have new memory hold NaN, so that what is read before it is written shows."""
    torch = sys.modules.get('torch')
    if torch is None:
        yield
        return
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope='session')
def mini_sets(tmp_path_factory):
    """The robustness sets of the mini ImageNet, two images a class."""
    from helpers.robustness_runs import SIZE

    from mmdcls.testing import make_mini
    from mmdcls.testing.robustness import make_mini_robustness

    folder = tmp_path_factory.mktemp('mini_sets')
    make_mini(folder, ['imagenet'], train=10, val=20)
    make_mini_robustness(
        folder / 'imagenet/val', folder / 'sets', images_per_class=2, size=SIZE
    )
    return folder / 'sets'


@pytest.fixture
def sets(mini_sets, tmp_path):
    """A copy of the mini sets that a test may damage."""
    shutil.copytree(mini_sets, tmp_path / 'sets')
    return tmp_path / 'sets'


@pytest.fixture(scope='session')
def small_model(tmp_path_factory):
    """Config and checkpoint of a classifier with random weights."""
    from helpers.robustness_runs import write_model

    return write_model(tmp_path_factory.mktemp('model'))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run tests that are marked ``triton`` in a process with Triton's interpreter."""
    if pyfuncitem.get_closest_marker('triton') is None:
        return None
    import torch
    from helpers.triton_runs import run_in_interpreter

    if os.environ.get('TRITON_INTERPRET') == '1' or torch.cuda.is_available():
        return None
    run_in_interpreter(pyfuncitem)
    return True
