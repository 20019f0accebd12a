"""Tables in memory: frames of pandas and polars, Arrow tables, mappings of columns; none of these is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..dataset import Dataset
from ..host import HostArray, is_missing
from . import fields, forms
from .columns import Asked, Loaded
from .grouping import named


class Frame:
    """A table in memory as the readers see one.

    Parameters
    ----------
    table
        What gives a column by its name: a frame, a mapping, an Arrow table, an array with fields.
    name
        What messages call it.
    where
        How they call a row; None: by its number.
    """

    def __init__(self, table: Any, name: str, where: Callable[[int], str] | None = None) -> None:
        self._table, self.name = table, name
        labels = _labels_of_columns(table)
        self.columns = [str(label) for label in labels]
        self._of = dict(zip(self.columns, labels, strict=True))
        self._where = where or (lambda k: f"row {k} of {name}")

    def hint(self, column: str) -> str | None:
        """Where a column is that is none."""
        names = getattr(getattr(self._table, "index", None), "names", None)
        return "it is of the index, of which reset_index() makes columns" if names and column in names else None

    def column(self, name: str) -> Any:
        """One column as its library has it."""
        return self._table[self._of[name]]

    def load(self, numeric: Sequence[str], plain: Sequence[str], ends: bool = False) -> Loaded:
        """These columns of all rows.

        Raises
        ------
        ValueError
            If there are no rows, columns are of different lengths, or a numeric one holds something else.
        """
        columns = [_numbers(self.column(name), name, self._where) for name in numeric]
        others = {name: _objects(self.column(name)) for name in plain}
        lengths = {name: len(column) for name, column in zip(numeric, columns, strict=True)}
        lengths |= {name: len(column) for name, column in others.items()}
        n = next(iter(lengths.values()))
        for name, length in lengths.items():
            if length != n:
                first = next(iter(lengths))
                raise ValueError(
                    f"the columns of {self.name} are of different lengths: {first!r} {n}, {name!r} {length}."
                )
        if n == 0:
            raise ValueError(f"{self.name} has no rows.")
        values = np.stack(columns, axis=1) if columns else np.empty((n, 0))
        if not ends:
            return Loaded(values, others, self._where)
        there = ~np.isnan(values)
        last = np.where(there.any(axis=1), values.shape[1] - np.argmax(there[:, ::-1], axis=1), 0)
        return Loaded(values, others, self._where, last)

    def labels(self, values: Sequence[Any]) -> HostArray:
        """Labels, of the type that they have in the table."""
        return named(values)

    def times(self, column: str, values: Sequence[Any], where: Callable[[int], str]) -> HostArray:
        """A column as points in time."""
        return _times(self.column(column), column, where)


def _labels_of_columns(table: Any) -> list[Any]:
    if isinstance(table, np.ndarray):
        return list(table.dtype.names or ())
    if isinstance(table, Mapping):
        return list(table)
    names = getattr(table, "column_names", None)  # of Arrow; polars has them under another name, too
    return list(table.columns if names is None or not isinstance(names, list) else names)


def _numbers(column: Any, name: str, where: Callable[[int], str]) -> HostArray:
    """A column as float32 or float64, what is missing as NaN."""
    array = np.asarray(column)
    if array.ndim != 1:
        raise ValueError(f"the column {name!r} has the shape {array.shape}: expected a value a row.")
    if array.dtype.kind in "Mm":
        raise ValueError(
            f"the column {name!r} holds {array.dtype}: name times by time=, and leave them out of features=."
        )
    if array.dtype.kind in "fiub":
        return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    if array.dtype.kind not in "OUT":
        raise ValueError(f"the column {name!r} holds {array.dtype}, where real numbers are expected.")
    values = np.empty(len(array))
    for k, value in enumerate(array.tolist()):
        if is_missing(value):
            values[k] = np.nan
        elif isinstance(value, (str, bytes)) or np.ndim(value) or not hasattr(value, "__float__"):
            raise fields.NotANumber(fields.not_a_number(value, name, where(k)))
        else:
            values[k] = float(value)
    return values


def _objects(column: Any) -> list[Any]:
    """A column as Python's own objects: ids, labels, tokens."""
    for method in ("to_list", "tolist", "to_pylist"):
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)


def _times(column: Any, name: str, where: Callable[[int], str]) -> HostArray:
    if getattr(getattr(column, "dt", None), "tz", None) is not None:  # pandas, with a time zone
        column = column.dt.tz_convert(None)
    array = np.asarray(column)
    if array.dtype.kind in "OUT":
        values = array.tolist()
        missing = next((k for k, value in enumerate(values) if is_missing(value)), None)
        if missing is not None:
            raise ValueError(f"{where(missing)} has no time in the column {name!r}: fill it, or leave the row out.")
        if all(isinstance(value, str) for value in values):
            return fields.times(values, name, where)
        try:
            array = np.array([value.isoformat() if hasattr(value, "isoformat") else value for value in values])
        except ValueError:
            array = np.array(0)
        if array.dtype.kind == "U":
            return fields.times(array.tolist(), name, where)
    if array.dtype.kind == "M":
        array = array if np.datetime_data(array.dtype)[0] == "ns" else array.astype("datetime64[us]")
    elif array.dtype.kind == "m":
        array = array / np.timedelta64(1, "s")
    if array.ndim != 1 or array.dtype.kind not in "iufM":
        raise ValueError(f"the column {name!r} holds {array.dtype}, where times are expected: numbers or dates.")
    wrong = np.isnat(array) if array.dtype.kind == "M" else ~np.isfinite(array)
    if wrong.any():
        raise ValueError(
            f"{where(int(np.argmax(wrong)))} has no time in the column {name!r}: fill it, or leave the row out."
        )
    return array


def from_long(
    frame: Any,
    *,
    id: str,
    time: str | None = None,
    features: Sequence[str] | None = None,
    label: str | None = None,
    text: str | None = None,
    delta: str | None = None,
    label_each_step: bool = False,
    sort: bool = True,
    separator: str | None = None,
) -> Dataset:
    """The sequences of a table in long form, where a row is a step and a column says which sequence it belongs to.

    Parameters
    ----------
    frame : pandas or polars frame, Arrow table, mapping of columns, or array with fields
        A row is a step. The rows of a sequence may stand anywhere.
    id : str
        The column that says which sequence a row belongs to. Sequences come in the order of their first rows.
    time : str, optional
        The column of times, numbers or dates, by which the steps of a sequence are sorted. Without it they stay in the
        order of their rows.
    features : list of str, optional
        The columns of numbers, in this order; by default all that are not named otherwise. What is missing is NaN:
        `missing=` of the estimators says what becomes of it.
    label : str, optional
        The column of labels; by default the column `label`, where there is one. A sequence has one in all of its rows.
    text : str, optional
        A column of tokens in place of features: X is then a list of lists of strings, as they are in tagged texts.
    delta : str, optional
        The name of a new feature: the time since the step before, in the unit of `time`, for dates in seconds; 0 for
        the first step.
    label_each_step : bool
        True: each step has its own label, and y is a list of arrays (time_i,).
    sort : bool
        False: times that go back are an error.
    separator : str, optional
        What stands between the labels of a sequence where it may have several: y is then a list with the labels of
        each, strings. An empty field, or a missing value, says that it has none.

    Returns
    -------
    Dataset
        X (`Sequences`), y and ids.

    Raises
    ------
    ValueError
        If a column is missing, holds something else than it should, an id has two labels or one time twice: the row or
        the id is named.
    TypeError
        If `frame` is no table.
    """
    asked = Asked(id, time, features, label, text, delta, label_each_step, sort, separator)
    return forms.read(Frame(_table(frame), f"the {type(frame).__name__}"), asked)


def _table(frame: Any) -> Any:
    kind = type(frame).__name__
    if hasattr(frame, "groups") and hasattr(frame, "obj"):
        raise TypeError(f"frame is a {kind}, a table that is cut already: pass the table itself, frame.obj.")
    if hasattr(frame, "collect") and not hasattr(frame, "to_numpy"):
        raise TypeError(f"frame is a {kind}, which is not computed yet: pass frame.collect().")
    is_table = isinstance(frame, Mapping) or (isinstance(frame, np.ndarray) and frame.dtype.names)
    if not is_table and not (hasattr(frame, "columns") and hasattr(frame, "__getitem__")):
        hint = ""
        if isinstance(frame, (str, bytes)) or hasattr(frame, "__fspath__"):
            hint = ": xlstm.read reads files"
        elif isinstance(frame, (list, tuple)):
            hint = ": a list of frames, one for each sequence, goes to the estimators as it is"
        raise TypeError(f"frame must be a table with names of columns, got {kind}{hint}.")
    return frame
