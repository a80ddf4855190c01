"""Find configs of the other packages, whichever line of them is installed."""

from importlib.metadata import PackageNotFoundError, distribution

from mmengine.config.utils import MODULE2PACKAGE


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


find_mmseg_by_its_module()
