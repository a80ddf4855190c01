from .checkpoint_files import check_destination, open_checkpoint, write_checkpoint
from .conversion import Conversion
from .official import mmdcls_to_official, official_to_mmdcls
from .plain_convnext import convnext_to_mmdcls

__all__ = [
    'Conversion',
    'check_destination',
    'convnext_to_mmdcls',
    'mmdcls_to_official',
    'official_to_mmdcls',
    'open_checkpoint',
    'write_checkpoint',
]
