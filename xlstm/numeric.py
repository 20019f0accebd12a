"""The numbers of sequences, on the host or a device: which are real ones, tokens as int64; NaN and infinity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import ondevice
from .backends import Backend
from .host import HostArray, is_missing
from .names import Names
from .namespace import Array


def int64(array: Array, where: str, place: Backend | None) -> Array:
    """Integers as int64; ValueError where one is too large. `where` says whose they are, `place` on which device."""
    if array.dtype == np.uint64 and array.size:  # the only type that holds more
        largest = int(array.max() if place is None else place.to_host(place.namespace.max(array)))
        if largest > np.iinfo(np.int64).max:
            raise ValueError(f"{where} holds the token {largest}, which does not fit 64 bits with a sign.")
    return array.astype(np.int64)


def joined(arrays: Sequence[Array], place: Backend | None) -> Array:
    """One after another, in a new array."""
    return np.concatenate(arrays) if place is None else place.namespace.concat(arrays, axis=0)


def real(array: HostArray, row: int | None = None, names: Names | None = None) -> HostArray:
    """Real numbers on the host: of a real type as they are, which `blocks` reads; objects as `numbers`."""
    return array if array.dtype.kind in "fiub" else numbers(array, row, names)


def numbers(array: Array, row: int | None = None, names: Names | None = None) -> Array:
    """Real numbers as float32 (if they are) or float64, missing ones as NaN."""
    where = "X" if row is None else f"row {row} of X"
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {where} has dtype {array.dtype}.")
    if array.dtype.kind not in "fiubO":
        raise TypeError(f"{where} must hold numbers or strings, got dtype {array.dtype}.")
    if array.dtype == np.float32:
        return array
    try:
        with np.errstate(over="ignore"):  # infinity is refused later, with its row
            return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        wrong = np.array([not _is_number(value) for value in array.flat]).reshape(array.shape)
        missing = wrong & np.array([is_missing(value) for value in array.flat]).reshape(array.shape)
        if (wrong == missing).all():
            return numbers(np.where(missing, np.nan, array), row, names)
        place = tuple(int(index[0]) for index in np.nonzero(wrong & ~missing))
        column = "" if names is None or len(place) < 2 else f" in the column {names[place[1]]!r}"
        # scikit-learn asks for the latter words where the whole of X is one array.
        reason = (
            "choose the columns that hold numbers" if row is not None else "argument must be a string or a real number"
        )
        raise TypeError(f"{where} holds {array[place]!r:.80}{column} where a number is expected: {reason}.") from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def check_finite(series: Any, missing: str, padded: bool) -> None:
    """Raise where a value of a `Series` is infinite, or NaN where `missing` is "error".

    `padded` is whether the sequences may have been filled to one length.
    """
    if series.place is not None:
        xp = series.place.namespace
        right = xp.isfinite(series.values) if missing == "error" else ~xp.isinf(series.values)
        if ondevice.true_of_all(series.place, right):
            return
        series = series._replace(steps=series.place.to_host(series.steps), place=None)  # the host finds out which one
    begin = 0
    for values in series.blocks():
        finite = np.isfinite(values) if missing == "error" else ~np.isinf(values)
        if not finite.all():
            step = int(np.argmin(finite.all(axis=1)))
            feature = int(np.argmin(finite[step]))
            raise _not_finite(series, begin + step, feature, values[step, feature], padded)
        begin += len(values)


def _not_finite(series: Any, place: int, feature: int, value: Any, padded: bool) -> ValueError:
    """What is said of this value, which stands at this place among all steps."""
    ends = np.cumsum(series.lengths)
    row = int(np.searchsorted(ends, place, side="right"))
    step = place - int(ends[row] - series.lengths[row])
    what = "NaN" if np.isnan(value) else "infinity (inf)" if value > 0 else "minus infinity (-inf)"
    where = f"step {step}"
    if series.columns is not None:
        where += "" if series.names is None else f" ({series.names[step]!r})"
    elif series.names is not None or series.features > 1:
        where += f", feature {feature if series.names is None else repr(series.names[feature])}"
    gaps = ", or read gaps with missing='mask'" if np.isnan(value) else ""
    pads = "; where it pads short sequences, pass a list of arrays of their own lengths instead" if padded else ""
    return ValueError(f"row {row} of X holds {what} in {where}: remove or replace it{gaps}{pads}.")
