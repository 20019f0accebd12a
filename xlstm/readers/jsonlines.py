"""JSON lines: an object a line, which is a whole sequence or, where an id is named, a step of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..dataset import Dataset, Sequences
from ..host import HostArray
from ..lines import Lines
from ..tables import counted
from . import fields, forms
from .columns import LABEL, Asked, listed
from .frames import Frame
from .grouping import bare, named, steps_of

_SERIES, _LABELS, _TEXT = ("x", "series"), ("y", "label"), "text"
_EXPECTED = (
    'expected a text, {"text": "…", "label": "…"}, a series, {"x": [[1, 2], [3, 4]], "y": "…"}, features by name, '
    '{"ax": [1, 3], "ay": [2, 4]} with features=["ax", "ay"], or with id= a step a line'
)


class _Item:
    """One object and where it stands."""

    def __init__(self, line: int, name: str, values: dict[str, Any]) -> None:
        self.line, self.name, self.values = line, name, values

    @property
    def where(self) -> str:
        return f"line {self.line} of {self.name}"


def read(path: str, encoding: str, asked: Asked) -> Dataset:
    """The sequences of a file: texts, tokens, series, or steps by their id.

    Raises
    ------
    ValueError
        If a line holds no object, or one that lacks something, or another kind of thing than the first.
    """
    with Lines(path, encoding, "encoding=") as lines:
        items = list(_items(lines))
    if not items:
        raise ValueError(f"{lines.name} is empty: {_EXPECTED}.")
    return _dataset(lines.name, items, asked)


def parts(path: str, encoding: str, asked: Asked, rows: int) -> Iterator[tuple[str, Dataset]]:
    """The same, about so many lines at a time, and which these are; lines of one id one after another stay together.

    Raises
    ------
    ValueError
        As `read`, of each part.
    """
    held: list[_Item] = []

    def of_one(item: _Item, other: _Item) -> bool:
        return asked.id is not None and bare(item.values.get(asked.id)) == bare(other.values.get(asked.id))

    with Lines(path, encoding, "encoding=") as lines:
        for item in _items(lines):
            if len(held) >= rows and not of_one(item, held[-1]):
                yield _span(held), _dataset(lines.name, held, asked)
                held = []
            held.append(item)
    if not held:
        raise ValueError(f"{lines.name} is empty: {_EXPECTED}.")
    yield _span(held), _dataset(lines.name, held, asked)


def _span(items: Sequence[_Item]) -> str:
    return f"lines {items[0].line} to {items[-1].line}"


def _dataset(name: str, items: list[_Item], asked: Asked) -> Dataset:
    first = items[0].values
    text = asked.text or (_TEXT if _TEXT in first and asked.features is None else None)
    key = next((key for key in _SERIES if key in first), None)
    whole = isinstance(first.get(key or ""), (list, dict)) or _is_whole(first, asked, text)
    if asked.id is not None and not whole:
        return _steps(name, items, asked)
    for argument, value in (("time", asked.time), ("delta", asked.delta)):
        if value is not None:
            raise ValueError(f"{argument}= is for lines that are a step each: in {name} a line is a whole sequence.")
    X: Any
    if text is not None:
        X = [(_tokens if isinstance(first.get(text), list) else _text)(item, text) for item in items]
        steps = [len(text) for text in X]
    elif asked.features is not None:
        X = _columns(items, lambda item: {name: _got(item, name) for name in asked.features or ()})
        steps = X.lengths.tolist()
    elif key is not None:
        X = _series(items, key)
        steps = X.lengths.tolist() if isinstance(X, Sequences) else [len(row) for row in X]
    else:
        raise ValueError(f"{items[0].where} has the fields {listed(list(first))}: {_EXPECTED}.")
    ids = "id" if asked.id is None and all("id" in item.values for item in items) else asked.id
    return Dataset(
        X,
        _labels(items, asked, steps),
        None if ids is None else [_got(item, ids) for item in items],
    )


def _items(lines: Lines) -> Iterator[_Item]:
    for line in lines:
        if not line.strip():
            continue
        where = f"line {lines.count} of {lines.name}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is no JSON ({error}): each line holds one whole object.") from None
        if not isinstance(values, dict):
            hint = ": write each of its objects on a line of its own" if isinstance(values, list) else ""
            raise ValueError(f"{where} holds {type(values).__name__}, not an object {{…}}{hint}.")
        yield _Item(lines.count, lines.name, values)


def _is_whole(first: dict[str, Any], asked: Asked, text: str | None) -> bool:
    """Whether an object is a whole sequence: a text that is no token, or features that are lists."""
    if asked.features is not None:
        return any(isinstance(first.get(name), list) for name in asked.features if isinstance(name, str))
    return text is not None and asked.id is None


def _steps(name: str, items: Sequence[_Item], asked: Asked) -> Dataset:
    """A step a line: the long form of a table whose columns are the fields of the first object."""
    unread = () if asked.labelled else (asked.label or LABEL,)
    keys = [key for key in items[0].values if key not in unread]
    for item in items:
        missing = [key for key in keys if key not in item.values]
        extra = [key for key in item.values if key not in (*keys, *unread)]
        if missing or extra:
            what = f"lacks {listed(missing)}" if missing else f"has {listed(extra)} too many"
            raise ValueError(f"{item.where} has other fields than {items[0].where}: it {what}. Write null for nothing.")
    table = {key: [item.values[key] for item in items] for key in keys}
    return forms.read(Frame(table, name, lambda k: items[k].where), asked)


def _got(item: _Item, key: str) -> Any:
    if key not in item.values:
        raise ValueError(f"{item.where} has no field {key!r}: it has {listed(list(item.values))}.")
    return item.values[key]


def _text(item: _Item, key: str) -> Any:
    text = _got(item, key)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{item.where} has {fields.shortened(text)} in {key!r}, where a text is expected.")
    return text


def _series(items: Sequence[_Item], key: str) -> Any:
    """What stands under `key`: lists of numbers, of steps, of tokens, or an object of features by name."""
    first = _got(items[0], key)
    if isinstance(first, dict):
        return _columns(items, lambda item: _expect(item, key, dict))
    if isinstance(first, list) and first and isinstance(first[0], str):
        return [_tokens(item, key) for item in items]
    if isinstance(first, str):
        return [_text(item, key) for item in items]
    arrays: list[HostArray] = []
    for item in items:
        array = _array(item, key, _expect(item, key, list), (1, 2))
        array = array[:, None] if array.ndim == 1 else array
        if arrays and array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{item.where} has {counted(array.shape[1], 'feature')} a step, {items[0].where} has "
                f"{arrays[0].shape[1]}."
            )
        arrays.append(array)
    return Sequences(np.concatenate(arrays), [len(array) for array in arrays])


def _columns(items: Sequence[_Item], chosen: Callable[[_Item], dict[str, Any]]) -> Sequences:
    """Each feature a list by its name."""
    names = list(chosen(items[0]))
    arrays = []
    for item in items:
        lists = chosen(item)
        if set(lists) != set(names):
            odd = sorted(set(lists) ^ set(names))
            raise ValueError(f"{item.where} has other features than {items[0].where}: {listed(odd)} are in one only.")
        columns = [_array(item, name, lists[name], (1,)) for name in names]
        for name, column in zip(names, columns, strict=True):
            if len(column) != len(columns[0]):
                raise ValueError(
                    f"{item.where} has {counted(len(columns[0]), 'step')} of {names[0]!r}, but {len(column)} of "
                    f"{name!r}."
                )
        arrays.append(np.stack(columns, axis=1))
    return Sequences(np.concatenate(arrays), [len(array) for array in arrays], names)


def _expect(item: _Item, key: str, kind: type) -> Any:
    value = _got(item, key)
    if not isinstance(value, kind):
        what = "an object" if kind is dict else "a list"
        raise ValueError(f"{item.where} has {fields.shortened(value)} in {key!r}, where {what} is expected.")
    return value


def _tokens(item: _Item, key: str) -> list[str]:
    tokens = _expect(item, key, list)
    if not tokens or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"{item.where} has {fields.shortened(tokens)} in {key!r}, where a list of tokens is expected.")
    return list(tokens)


def _array(item: _Item, key: str, value: Any, dimensions: tuple[int, ...]) -> HostArray:
    """A list as float64, null as NaN."""
    if not isinstance(value, list):
        raise ValueError(f"{item.where} has {fields.shortened(value)} in {key!r}, where a list of numbers is expected.")
    if not value:
        raise ValueError(f"{item.where} has an empty list in {key!r}: each sequence needs at least one step.")
    try:
        array = np.array(value)
    except ValueError:
        raise ValueError(f"{item.where} has steps with different numbers of features in {key!r}.") from None
    if array.dtype.kind == "O" and all(one is None or isinstance(one, (int, float)) for one in array.flat):
        array = array.astype(np.float64)
    if array.dtype.kind not in "fiub" or array.ndim not in dimensions or 0 in array.shape:
        shape = "numbers" if dimensions == (1,) else "numbers, or of steps that are lists of numbers,"
        raise ValueError(f"{item.where} has {fields.shortened(value)} in {key!r}, where a list of {shape} is expected.")
    return array.astype(np.float64)


def _labels(items: Sequence[_Item], asked: Asked, steps: Sequence[int]) -> Any:
    if not asked.labelled:
        return None
    key = asked.label or next((key for key in _LABELS if key in items[0].values), None)
    if key is None:
        odd = next((item for item in items if any(key in item.values for key in _LABELS)), None)
        if odd is not None:
            raise ValueError(f"{odd.where} has a label, {items[0].where} has none: all have one, or none has.")
        if asked.label_each_step:
            raise ValueError(f"label_each_step=True, but {items[0].where} has no labels: name their field by label=.")
        return None
    labels = [_got(item, key) for item in items]
    lists = [isinstance(label, list) for label in labels]
    if asked.separator is not None:
        return [_several(item, key, label, asked.separator) for item, label in zip(items, labels, strict=True)]
    for item, label, is_list in zip(items, labels, lists, strict=True):
        if label is None or isinstance(label, dict):
            raise ValueError(f"{item.where} has {label!r:.60} in {key!r}, where a label is expected.")
        if is_list != (asked.label_each_step or lists[0]):
            what = "a list of labels" if not is_list else "one label"
            raise ValueError(f"{item.where} has {fields.shortened(label)} in {key!r}, where {what} is expected.")
    if not lists[0]:
        return named(labels)
    if not asked.label_each_step:
        return labels
    for item, label, length in zip(items, labels, steps, strict=True):
        if len(label) != length:
            raise ValueError(
                f"{item.where} has {counted(len(label), 'label')} for {counted(length, 'step')}: there is one a step."
            )
    return steps_of(labels)


def _several(item: _Item, key: str, label: Any, separator: str) -> list[Any]:
    """The labels of one sequence: a list of them, a text that holds them, or null for none."""
    if isinstance(label, dict):
        raise ValueError(f"{item.where} has {label!r:.60} in {key!r}, where labels are expected.")
    if isinstance(label, list):
        return label
    return [] if label is None else fields.several(str(label), separator)
