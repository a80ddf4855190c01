"""Verify that data lie on disk as a config expects, and fit its model."""

from .dataset import check_annotations, check_dataset, read_classes
from .labels import ClassList, compare_classes, compare_heads
from .report import Problem, Report

__all__ = [
    'ClassList',
    'Problem',
    'Report',
    'check_annotations',
    'check_dataset',
    'compare_classes',
    'compare_heads',
    'read_classes',
]
