from .export import Check, ExportError, export
from .formats import FORMATS
from .network import DeployedNetwork

__all__ = ['FORMATS', 'Check', 'DeployedNetwork', 'ExportError', 'export']
