"""Compare the classes of data sets with each other and with the model's heads."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.registry import MODELS

from mmdcls.registry import find_class

from .report import SHOWN, Problem, enumerate_some

_NOT_OF_THE_CLASSES = ('rpn_head', 'semantic_head')
"""Heads of their own labels: object or not, "stuff"."""


@dataclass(frozen=True)
class ClassList:
    """The classes of a data set.

    Attributes:
        key: The dotted key of the data set in the config.
        source: The kind of thing that tells the names; only lists of one source are
            comparable.
        names: Their names in the order of their labels; empty where none are known.
        count: The number of classes that the data set says it has.
        where: The source with its path, for messages; defaults to ``source``.
    """

    key: str
    source: str
    names: tuple[str, ...]
    count: int
    where: str = ''


def compare_classes(lists: Sequence[ClassList]) -> list[Problem]:
    """Compare the classes of data sets with those of the first of the same source.

    It is certainly wrong if a name has two labels, or a label that the first data set
    does not reach; a name of its own at the place of another may be meant.
    """
    problems = []
    firsts: dict = {}
    for classes in lists:
        if not classes.names:
            continue
        first = firsts.setdefault(classes.source, classes)
        if first.names != classes.names:
            problems.append(_describe_difference(first, classes))
    return problems


def _describe_difference(first: ClassList, other: ClassList) -> Problem:
    ranks = {name: i for i, name in enumerate(first.names)}
    shifted = [
        (name, ranks[name], i)
        for i, name in enumerate(other.names)
        if ranks.get(name, i) != i
    ]
    lacking = [name for name in first.names if name not in other.names]
    besides = [name for name in other.names if name not in ranks]
    unreached = [name for name in other.names[len(first.names) :] if name not in ranks]
    facts = []
    if lacking:
        facts.append(f'lacks {enumerate_some(lacking)}')
    if besides:
        facts.append(f'has besides {enumerate_some(besides)}')
    if shifted:
        name, label, shifted_label = shifted[0]
        facts.append(
            f"'{name}' has label {shifted_label} here and {label} there, as "
            f'{len(shifted)} of {len(other.names)} classes have another label'
        )
    message = (
        f'the {other.where or other.source} are not those of {first.key} '
        f'({first.where or first.source}): {"; ".join(facts)}'
    )
    return Problem(other.key, message, may_be_meant=not (shifted or unreached))


def compare_heads(
    model: Mapping, lists: Sequence[ClassList], exact: bool
) -> list[Problem]:
    """Compare the ``num_classes`` of a model's heads with the data sets' classes.

    Args:
        model: The config of the model, in the current default scope.
        lists: The classes of the data sets.
        exact: True if more outputs than classes cannot be meant either, as in mmdet,
            whose metrics look up the category of every output.
    """
    problems: dict = {}
    for head in iter_heads(model):
        for classes in lists:
            if head.num_classes == classes.count:
                continue
            if not exact and head.accepts_one_output(classes.count):
                continue
            too_few = head.num_classes < classes.count
            problems.setdefault(
                (head.key, classes.count),
                Problem(
                    head.key,
                    f'num_classes={head.num_classes}{head.origin}, but {classes.key} '
                    f'has {classes.count} classes'
                    f'{_in_brackets(classes.names[: classes.count])}',
                    may_be_meant=not (too_few or exact),
                ),
            )
    return list(problems.values())


def _in_brackets(names: Sequence[str]) -> str:
    return f' ({enumerate_some(names)})' if 0 < len(names) <= SHOWN else ''


@dataclass(frozen=True)
class Head:
    """A part of a model that tells classes apart.

    Attributes:
        key: The dotted key of the head in the config, such as ``'model.decode_head'``.
        num_classes: The number of classes that the head tells apart.
        single_output: True if one output tells two classes apart.
        origin: The way in which the number came about, for messages.
    """

    key: str
    num_classes: int
    single_output: bool = False
    origin: str = ''

    def accepts_one_output(self, count: int) -> bool:
        """Tell whether its one output fits data with so many classes.

        It tells two apart; that of an auxiliary head finds the borders of any.
        """
        return self.single_output and (count <= 2 or 'auxiliary' in self.key)


def iter_heads(model: Mapping, key: str = 'model') -> Iterator[Head]:
    """Yield the heads of a model's config, those of models within it too."""
    for name, value in model.items():
        if name in _NOT_OF_THE_CLASSES:
            continue
        parts = [(f'{key}.{name}', value)]
        if isinstance(value, (list, tuple)):
            parts = [(f'{key}.{name}[{i}]', part) for i, part in enumerate(value)]
        for part_key, part in parts:
            if not isinstance(part, Mapping):
                continue
            if name.endswith('head') and (head := _read_head(part_key, part)):
                yield head
            yield from iter_heads(part, part_key)


def _read_head(key: str, config: Mapping) -> Head | None:
    count, origin = config.get('num_classes'), ''
    if count is None:
        count, origin = _default_count(config.get('type')), ' (the default)'
    if not isinstance(count, int) or count < 1:
        return None
    single = count == 1 or (count == 2 and config.get('out_channels') == 1)
    return Head(key, count, single, origin)


def _default_count(kind: Any) -> int | None:
    """Return the number of classes that a head takes where the config is silent."""
    for base in getattr(find_class(MODELS, kind), '__mro__', ()):
        parameter = inspect.signature(base.__init__).parameters.get('num_classes')
        if parameter is not None:
            return parameter.default if isinstance(parameter.default, int) else None
    return None
