"""Numbers to be predicted, read and checked: what the y of a regressor may be."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from .host import HostArray, is_missing, on_host


def read(y: Any, rows: int) -> HostArray:
    """y as an array (n,) or (n, K) of finite numbers: float32 where it is of that or less, else float64.

    Raises
    ------
    ValueError
        If it holds anything but finite numbers, or is not of one row for each of the `rows` sequences: what, and where.
    TypeError
        If no array can be made of it.
    """
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None.")
    # A list is looked at number by number where it holds anything else: NumPy would make strings of ["a", 1].
    values = _of_list(y) if isinstance(y, (list, tuple)) else on_host("y", y)
    if values.ndim not in (1, 2) or (values.ndim == 2 and not values.shape[1]):
        raise ValueError(
            f"y should be an array (n,), or (n, K) of K numbers for each sequence; got an array of shape "
            f"{values.shape}. Numbers for each step a regressor of sequences does not learn."
        )
    if len(values) != rows:
        hint = " One sequence is [X], its number [y]." if len(values) == 1 else ""
        raise ValueError(
            f"X has {rows} sequences, but y has {len(values)} rows: inconsistent numbers of samples.{hint}"
        )
    if values.dtype.kind == "c":
        raise ValueError("Complex data not supported: y holds complex numbers.")
    if values.dtype.kind == "U":
        values = _of_texts(values)
    elif values.dtype.kind not in "biuf":
        values = _of_objects(values)
    values = values.astype(np.float32 if values.dtype.kind == "f" and values.dtype.itemsize <= 4 else np.float64)
    if not np.isfinite(values).all():
        place = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
        raise ValueError(f"{_name(place)} is {values[place]}: Input contains NaN or infinity.")
    return values


def _of_list(y: Any) -> HostArray:
    """A list as an array of numbers, or of objects."""
    try:
        values = np.array(y)
    except ValueError:
        widths = [len(row) if hasattr(row, "__len__") and not isinstance(row, str) else 1 for row in y]
        wrong = next((row for row, width in enumerate(widths) if width != widths[0]), 0)
        raise ValueError(
            f"y[{wrong}] holds {widths[wrong]} numbers, y[0] {widths[0]}: each sequence needs as many as the others."
        ) from None
    return values if values.dtype.kind in "biufc" else np.array(y, dtype=object)


def _of_objects(values: HostArray) -> HostArray:
    """Python's numbers as float64."""
    found = np.empty(values.shape)
    for place, value in np.ndenumerate(values):
        if is_missing(value):
            raise ValueError(f"{_name(place)} is {value!r}: Input contains NaN or nothing, every row needs a number.")
        if isinstance(value, (str, bytes, np.datetime64, np.timedelta64)) or not hasattr(value, "__float__"):
            _refuse(place, value)
        try:
            found[place] = float(value)
        except OverflowError:
            raise ValueError(f"{_name(place)} is too large a number: 64 bits hold up to about 1.8e308.") from None
        except (TypeError, ValueError):
            _refuse(place, value)
    return found


def _of_texts(values: HostArray) -> HostArray:
    """Numbers as a table has them, "2.50" among them: readers leave a text where a number does not give it back."""
    found = np.empty(values.shape)
    for place, value in np.ndenumerate(values):
        try:
            found[place] = float(value)
        except ValueError:
            _refuse(place, value)
        if "_" in value:  # Python takes 1_000 for a number
            _refuse(place, value)
    return found


def _refuse(place: tuple[Any, ...], value: Any) -> NoReturn:
    raise ValueError(
        f"{_name(place)} is {value!r:.80}: expected a number. For classes, strings among them, there is "
        "SequenceClassifier."
    )


def _name(place: tuple[Any, ...]) -> str:
    return f"y[{', '.join(str(int(index)) for index in place)}]"
