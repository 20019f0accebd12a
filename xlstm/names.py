"""The names of features: where users' tables have them, and how those of one table are matched with another's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .host import HostArray

Names = tuple[str, ...]


def are_numbers(names: Iterable[str]) -> bool:
    """Whether they are 0, 1, 2, … in their order: the names that a frame's columns have where nobody named them."""
    return all(name == str(k) for k, name in enumerate(names))


def given(names: Names | None, others: Iterable[str]) -> Names | None:
    """Names, but None for numbers in their order where the others are no such numbers: then nobody gave them."""
    return None if names is not None and are_numbers(names) and set(names) != set(others) else names


def names_of(table: Any) -> Names | None:
    """The names of a data frame's columns, or of an array's fields: None where there are none, or not all are strings.

    scikit-learn's rule: names that are not strings are none.
    """
    columns = _columns(table)
    return columns if columns and all(isinstance(name, str) for name in columns) else None


def features_of(table: Any) -> Names | None:
    """The names of the features of one sequence: of a table all names, those of another type as text.

    So a frame with the columns 1, 0 is known as one with 0, 1 that was reordered.

    Raises
    ------
    ValueError
        If two names are alike as text, such as 1 and "1".
    """
    columns = _columns(table)
    names = tuple(map(str, columns))
    if len(set(names)) < len(set(columns)):
        raise ValueError(f"two features have names that are alike as text: {columns!r:.200}. Rename one of them.")
    return names or None


def steps_names(k: int, row: Sequence[Any]) -> Names | None:
    """The names of the features of a sequence whose steps have some: named tuples, or series with an index of names.

    Raises
    ------
    ValueError
        If the steps of row `k` have them in another order than its first.
    """
    first = _step_names(row[0]) if row else None
    if first is not None and any(_step_names(step) != first for step in row):
        raise ValueError(f"the steps of row {k} of X have other names, or the same in another order: make them alike.")
    return first


def _step_names(step: Any) -> Names | None:
    names = getattr(step, "_fields", None)  # of a named tuple
    if names is None and hasattr(step, "to_frame"):
        names = getattr(step, "index", None)  # of a pandas series
    if names is None or isinstance(step, np.ndarray) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names) or None


def _columns(table: Any) -> tuple[Any, ...]:
    if isinstance(table, np.ndarray):  # a field of a record array may be called columns
        return table.dtype.names or ()
    columns = getattr(table, "columns", None)
    try:
        return () if columns is None else tuple(columns)
    except TypeError:  # a method of that name
        return ()


def plain(name: str, array: HostArray) -> HostArray:
    """An array of fields as one with an axis more, in which they stand one after another; any other as it is.

    Raises
    ------
    TypeError
        If a field does not hold real numbers.
    """
    if array.dtype.names is None:
        return array
    for field in array.dtype.names:
        if array.dtype[field].kind not in "fiub":
            raise TypeError(f"the field {field!r} of {name} must hold real numbers, got dtype {array.dtype[field]}.")
    from numpy.lib import recfunctions  # rarely needed, and slow to import

    unstructured: HostArray = recfunctions.structured_to_unstructured(array)
    return unstructured


def matched(names: Names, expected: Names, where: str, seen: str) -> list[int] | None:
    """Where each of the `expected` names stands in `names`; None where they are the same in the same order.

    Raises
    ------
    ValueError
        If a name is missing, one too many, or there twice: all of them are named. `where` and `seen` say whose names
        they are.
    """
    if names == expected:
        return None
    twice = [name for name, count in (Counter(names) | Counter(expected)).items() if count > 1]
    if twice:
        raise ValueError(f"{where} has more than one feature {_listed(twice)}: give each a name of its own.")
    place = {name: k for k, name in enumerate(names)}
    known = set(expected)
    missing = [name for name in expected if name not in place]
    extra = [name for name in names if name not in known]
    if missing or extra:
        parts = [f"lacks {_listed(missing)}"] if missing else []
        parts += [f"has {_listed(extra)} too many"] if extra else []
        raise ValueError(f"the features of {where} are matched by name with {seen}: it {' and '.join(parts)}.")
    return [place[name] for name in expected]


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
