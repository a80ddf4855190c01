from .cells import Cell, CellStore, ImageFiles

__all__ = ['Cell', 'CellStore', 'ImageFiles']
