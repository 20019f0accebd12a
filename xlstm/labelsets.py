"""Several labels of each row, read and checked: what such a y may be, and the labels that its columns stand for.

Two forms: an indicator matrix (n, K), 1 where a row has the label of a column; or for each row a list, tuple or set of
its labels, which may be empty.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from .host import HostArray, is_missing, on_host
from .labels import classes_of, column, listed
from .names import names_of

HINT = "Labels themselves go as lists, such as [['a', 'b'], ['a'], []]."


def are_several(y: Any) -> bool:
    """Whether y has several labels a row, or none: a matrix of more than one column, or a collection for each row.

    Lists of one label each are a column, as they always were.
    """
    rows = _rows(y)
    if rows is None:
        shape: Any = getattr(y, "shape", ())
        return len(shape) == 2 and shape[1] != 1
    together = [row for row in rows if _is_collection(row)]
    return any(isinstance(row, (set, frozenset)) or len(row) != 1 for row in together) or 0 < len(together) < len(rows)


def is_indicator(y: Any) -> bool:
    """Whether several labels are given as a matrix: an array, a frame, or lists of noughts and ones of one length.

    As lists of labels the latter would be the same two labels in every row.
    """
    rows = _rows(y)
    if rows is None:
        return True
    if not all(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
        return False
    widths = {len(row) for row in rows}
    flags = (flag for row in rows for flag in row)
    return len(widths) == 1 and widths.pop() > 1 and all(map(_is_flag, flags))


def indicator(y: Any, rows: int, labels: HostArray | None = None) -> tuple[HostArray, HostArray]:
    """The labels of the columns, and an indicator matrix (n, K) int8.

    Parameters
    ----------
    labels
        Of a model, in the order of its outputs: a frame with columns of these names is brought into it. None takes the
        names of a frame's columns, where they are strings, or else the numbers of the columns.

    Raises
    ------
    ValueError
        If y does not hold noughts and ones (row and column are named), or is not of such rows and columns.
    """
    names = names_of(y)
    matrix = np.asarray([list(row) for row in y], dtype=object) if isinstance(y, (list, tuple)) else on_host("y", y)
    _check_rows(len(matrix), rows)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"y should be an indicator matrix (n, K) of 0 and 1, got shape {matrix.shape}. {HINT}")
    if matrix.dtype.kind in "biuf":
        right = (matrix == 0) | (matrix == 1)
    else:
        right = np.array([_is_flag(value) for value in matrix.flat]).reshape(matrix.shape)
    if not right.all():
        row, place = (int(index[0]) for index in np.nonzero(~right))
        told = f" (in the column {names[place]!r})" if names is not None else ""
        value = matrix[row : row + 1, place].tolist()[0]  # as Python has it
        raise ValueError(
            f"Unknown label type: y[{row}, {place}] is {value!r:.80}{told}: a y of several columns holds "
            f"0 or 1, whether a row has the label of a column. {HINT}"
        )
    flags = matrix.astype(bool).astype(np.int8)
    if labels is None:
        named = np.arange(matrix.shape[1]) if names is None else np.array(names)
        if len(np.unique(named)) < len(named):
            raise ValueError("y has two columns of one name: give each label a name of its own.")
        return named, flags
    if flags.shape[1] != len(labels):
        raise ValueError(f"y has {flags.shape[1]} columns, but there are {len(labels)} labels, one for each column.")
    if names is not None and labels.dtype.kind == "U" and list(names) != labels.tolist():
        if sorted(names) != sorted(labels.tolist()):
            raise ValueError(f"y has the columns {list(names)}, but the labels of this model are {listed(labels)}.")
        flags = flags[:, [names.index(label) for label in labels.tolist()]]
    return labels, flags


def lists(y: Any, rows: int, labels: HostArray | None = None) -> tuple[HostArray, HostArray]:
    """The labels that occur, sorted, or else the given ones; and an indicator matrix (n, K) int8.

    Raises
    ------
    ValueError
        If a row is no collection of labels, has one twice, or one that is none of the given: the row is named.
    """
    found = _rows(y)
    if found is None:
        got = type(y).__name__ if isinstance(y, (list, tuple)) else f"shape {getattr(y, 'shape', ())}"
        raise ValueError(f"y should hold a list of labels for each row, got {got} of something else. {HINT}")
    _check_rows(len(found), rows)
    for k, row in enumerate(found):
        if not _is_collection(row):
            advice = f"no label is [], a single one [{row!r:.40}]"
            raise ValueError(f"y[{k}] is {row!r:.40}, but other rows of y are collections of labels: {advice}.")
    given: list[list[Any]] = [row.tolist() if isinstance(row, np.ndarray) else list(row) for row in found]
    for k, own in enumerate(given):
        for label in own:
            if _is_collection(label):
                raise ValueError(f"Unknown label type: y[{k}] holds {type(label).__name__}, no label. {HINT}")
            if is_missing(label):
                raise ValueError(f"y[{k}] holds {label!r}: Input contains NaN or nothing; a row without labels is [].")
        twice = [label for label in own if own.count(label) > 1]
        if twice:
            raise ValueError(
                f"y[{k}] holds the label {twice[0]!r} {own.count(twice[0])} times: of several labels a row has each "
                "once, [set(row) for row in y]. Labels of the steps are learned by SequenceLabeler."
            )
    every = [label for own in given for label in own]
    if labels is None:
        labels, _ = classes_of(every)
    elif every:
        column(every, None)
    places = {label: place for place, label in enumerate(labels.tolist())}
    flags = np.zeros((len(given), len(labels)), dtype=np.int8)
    for k, own in enumerate(given):
        for label in own:
            if label not in places:
                raise ValueError(f"row {k} has the label {label!r:.80}, which is none of the classes {listed(labels)}.")
            flags[k, places[label]] = 1
    return labels, flags


def declared_for(matrix: bool, classes: Any) -> HostArray:
    """The labels that the user has declared: sorted, or for an indicator matrix in the order of its columns."""
    labels, numbers = classes_of(classes)
    if not matrix:
        return labels
    if len(labels) < len(numbers):
        raise ValueError(f"classes names a label twice: {classes!r:.200}.")
    return labels[numbers]


def _rows(y: Any) -> list[Any] | None:
    """The rows of y where it is a list of whatever; None where it is a matrix, or a column of plain labels."""
    if isinstance(y, (list, tuple)):
        return list(y) if any(map(_is_collection, y)) else None
    if len(getattr(y, "shape", ())) != 1:
        return None
    rows = on_host("y", y)
    if rows.ndim != 1 or rows.dtype.kind != "O":
        return None
    return rows.tolist() if any(map(_is_collection, rows)) else None


def _is_collection(row: Any) -> bool:
    if isinstance(row, np.ndarray):
        return row.ndim > 0
    return isinstance(row, Collection) and not isinstance(row, (str, bytes, dict))


def _is_flag(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.bool_, np.number)) and value in (0, 1)


def _check_rows(found: int, rows: int) -> None:
    if found != rows:
        raise ValueError(f"X has {rows} sequences, but y has {found} rows of labels: inconsistent numbers of samples.")
