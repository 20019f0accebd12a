"""The names of features: where users' tables have them, and how those of one table are matched with another's."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .host import HostArray

Names = tuple[str, ...]


def names_of(table: Any) -> Names | None:
    """The names of a data frame's columns, or of an array's fields: None where there are none, or not all are strings.

    scikit-learn's rule: names that are not strings are none.
    """
    columns = _columns(table)
    return columns if columns and all(isinstance(name, str) for name in columns) else None


def features_of(table: Any) -> Names | None:
    """The names of the features of one sequence: `names_of`, and numbers too where they are not just 0, 1, 2, ….

    A frame whose columns are numbered 0, 1, 2 in their order has no names; one with the columns 1, 0 was reordered.
    """
    columns = _columns(table)
    if not columns or columns == tuple(range(len(columns))):
        return None
    return tuple(map(str, columns))


def _columns(table: Any) -> tuple[Any, ...]:
    columns = getattr(table, "columns", None)
    if columns is None:
        columns = getattr(getattr(table, "dtype", None), "names", None)
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
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{where} has more than one feature {_listed(twice)}: give each a name of its own.")
    missing = [name for name in expected if name not in names]
    extra = [name for name in names if name not in expected]
    if missing or extra:
        parts = [f"lacks {_listed(missing)}"] if missing else []
        parts += [f"has {_listed(extra)} too many"] if extra else []
        raise ValueError(f"the features of {where} are matched by name with {seen}: it {' and '.join(parts)}.")
    place = {name: k for k, name in enumerate(names)}
    return [place[name] for name in expected]


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
