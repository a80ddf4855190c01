"""What the reports of the analysis tools have in common."""

from mmengine.logging import MMLogger


def silence_mmengine() -> None:
    """Keep mmengine's notes out of standard output, where a report goes."""
    MMLogger.get_instance('mmdcls', log_level='ERROR')
