"""Data with their channels first, as aeon and sktime keep them, turned: time first, as this library has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import ondevice
from .backends import is_on_gpu
from .host import HostArray, on_host


def from_channels_first(X: Any) -> Any:
    """(n, channels, time), as aeon and sktime keep data, to (n, time, channels), as this library does: where it lies.

    Parameters
    ----------
    X
        An array (n, channels, time); a list of arrays (channels, time_i), where lengths differ; or a nested data frame,
        a row for each sequence and a column for each channel, whose cells are the series.

    Returns
    -------
    array or list
        (n, time, channels) of an array, and of a list of arrays of one shape; else a list of arrays
        (time_i, channels), of a nested frame of data frames with the names of its columns.

    Raises
    ------
    ValueError
        If X is none of these; if a row has other channels than the first, or channels of several lengths: it is named.
    """
    if is_on_gpu(X):
        _, array = ondevice.taken("X", X)
        return _turned(array)
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        if len(X) == 0:
            raise _empty()
        return [type(X)(_of_cells(k, X.iloc[k]), columns=list(X.columns)) for k in range(len(X))]
    if not isinstance(X, (list, tuple)):
        array = on_host("X", X)
        if array.dtype != object:
            return _turned(array)
        if array.ndim == 0:
            raise ValueError(f"expected (n, channels, time) or a list of (channels, time), got {type(X)}.")
        X = list(array)
    common, rows = ondevice.rows_taken(X)
    rows = rows if common is not None else [_row(k, row) for k, row in enumerate(rows)]
    for k, row in enumerate(rows):
        if row.ndim != 2:
            raise ValueError(
                f"expected (n, channels, time) or a list of (channels, time), but row {k} is of shape "
                f"{tuple(row.shape)}."
            )
        if row.shape[0] != rows[0].shape[0]:
            raise ValueError(
                f"row {k} of X has {row.shape[0]} channels, row 0 has {rows[0].shape[0]}: give all rows the same "
                "channels, those that one lacks as NaN (missing='mask')."
            )
    if not rows:
        raise _empty()
    if common is None and len({row.shape for row in rows}) == 1:
        return _turned(np.stack(rows))
    return [row.T if common is not None else np.ascontiguousarray(row.T) for row in rows]


def _empty() -> ValueError:
    return ValueError("X is empty: there is nothing to turn.")


def _row(k: int, row: Any) -> HostArray:
    """A row of a list as an array, (channels, time)."""
    try:
        array = on_host("X", row)
    except ValueError:  # NumPy's, of lists of several lengths
        array = np.empty((), dtype=object)
    if array.dtype == object:
        raise ValueError(
            f"expected (n, channels, time) or a list of (channels, time), but row {k} is ragged itself: its channels "
            "have several lengths. Fill up the shorter ones with NaN (missing='mask'), or cut the longer ones."
        )
    return array


def _turned(array: Any) -> Any:
    if array.ndim != 3:
        raise ValueError(f"expected (n, channels, time), got an array of shape {array.shape}.")
    if array.shape[0] == 0:
        raise _empty()
    if isinstance(array, np.ndarray):
        return np.ascontiguousarray(np.swapaxes(array, 1, 2))
    return array.transpose(0, 2, 1)


def _of_cells(k: int, row: Any) -> HostArray:
    """A row of a nested frame, whose cells are series, as (time, channels)."""
    cells = [np.asarray(cell) for cell in row]
    shapes = {cell.shape for cell in cells}
    if len(shapes) != 1 or cells[0].ndim != 1:
        told = ", ".join(map(str, sorted(shapes)))
        raise ValueError(
            f"row {k} of X has cells of the shapes {told}: expected a nested frame, each cell of which is the series "
            "of a channel, (time,), those of a row of one length."
        )
    return np.stack(cells, axis=1)
