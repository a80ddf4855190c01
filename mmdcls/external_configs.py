"""Let mmengine find configs by the package: ``mmdcls::``, and ``mmseg::`` under OneDL.

mmengine turns the name before ``::`` into that of a distribution, and takes the configs
from ``.mim`` in the folder that it believes the distribution's package to be in.
"""

from importlib.metadata import PackageNotFoundError, distribution

from mmengine.config.utils import MODULE2PACKAGE


def find_mmdcls() -> None:
    """Let ``mmdcls::`` configs be found, however mmdcls came onto the path.

    mmengine takes the package of a distribution to lie beside its metadata, where that
    of an editable install does not. A module of mmdcls is no distribution: mmengine
    asks Python for it, and takes its folder.
    """
    MODULE2PACKAGE['mmdcls'] = 'mmdcls.version'


def find_mmseg_by_its_module() -> None:
    """Let ``mmseg::`` configs be found where no ``mmsegmentation`` is installed.

    mmengine looks for them in the distribution of that name, OneDL's (0.10.12) too,
    although OneDL names its distributions otherwise: there, mmsegmentation would be
    reported missing. The module's name serves mmengine as well as a distribution's.
    """
    try:
        distribution('mmsegmentation')
    except PackageNotFoundError:
        MODULE2PACKAGE['mmseg'] = 'mmseg'


find_mmdcls()
find_mmseg_by_its_module()
