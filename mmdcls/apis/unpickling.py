"""Refuse files that would be unpickled, and could run anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmengine.config import Config

from mmdcls.errors import ConfigError

# mmengine reads YAML with a loader that makes any Python object. ``.np`` is how mmdet
# names the pickled hierarchy of OpenImages.
SUFFIXES = ('.pkl', '.pickle', '.yml', '.yaml', '.np')
STRATEGIES = ('DeepSpeedStrategy', 'ColossalAIStrategy')
_FLAG = '`allow_pickle` accepts it where you trust whoever made it.'


def refuse_unpickling(
    cfg: Config, splits: Sequence[str], allow_pickle: bool = False
) -> None:
    """Refuse inputs whose reading can run code, before anything is read.

    These are pickled and YAML files that a data set names (``ann_file``, proposals),
    and checkpoints of DeepSpeed and ColossalAI, which read them by themselves.

    Args:
        cfg: The config of the run.
        splits: The splits whose data sets will be built, of ``'train'``, ``'val'`` and
            ``'test'``.
        allow_pickle: Whether to accept them all.

    Raises:
        ConfigError: If there is one; the sentence names its key and the file.
    """
    if allow_pickle:
        return
    for split in splits:
        loader = f'{split}_dataloader'
        for key, value in _settings(cfg.get(loader), loader):
            pickled = key.endswith('decode_backend') and value == 'pickle'
            if pickled or value.lower().endswith(SUFFIXES):
                raise ConfigError(
                    f"{key}='{value}' is unpickled by its data set, which can run code "
                    f'that is hidden in it; convert it to JSON, or {_FLAG}'
                )
    strategy = str((cfg.get('strategy') or {}).get('type')).rpartition('.')[2]
    if strategy in STRATEGIES and (cfg.get('resume') or cfg.get('load_from')):
        source = cfg.get('load_from') or 'the latest checkpoint'
        raise ConfigError(
            f"strategy.type='{strategy}' unpickles '{source}' by itself, which can run "
            f'code that is hidden in it; {_FLAG}'
        )


def _settings(content: object, key: str) -> Iterator[tuple[str, str]]:
    """Yield every text in a part of a config, with its key."""
    if isinstance(content, str):
        yield key, content
    elif isinstance(content, dict):
        for name, value in content.items():
            yield from _settings(value, f'{key}.{name}')
    elif isinstance(content, (list, tuple)):
        for index, value in enumerate(content):
            yield from _settings(value, f'{key}[{index}]')
