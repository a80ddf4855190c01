"""Verify that data lie on disk as a config expects, and fit its model."""

from .dataset import (
    check_annotations,
    check_dataset,
    check_datasets,
    read_classes,
)
from .labels import ClassList, compare_classes, compare_heads
from .report import Problem, Report
from .source import Source, open_source, open_sources

__all__ = [
    'ClassList',
    'Problem',
    'Report',
    'Source',
    'check_annotations',
    'check_dataset',
    'check_datasets',
    'compare_classes',
    'compare_heads',
    'open_source',
    'open_sources',
    'read_classes',
]
