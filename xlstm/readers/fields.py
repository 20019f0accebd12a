"""What a field of a text file stands for: a number, a missing value, a point in time, a label."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from ..host import HostArray

MISSING = frozenset(("", "na", "nan", "n/a", "<na>", "#n/a", "null", "none", "?"))
"""Fields, in lower case, that stand for a value that is not there."""

_NANOSECONDS = re.compile(r"(?<=[.,]\d{6})\d{1,3}(?!\d)")
_PLAIN_DATE = re.compile(r"[-+]?\d+-\d+(-\d+)?([T ]\d\d(:\d\d(:\d\d(\.\d+)?)?)?)?")
"""A date with or without a time of day, which NumPy reads or refuses without a warning."""
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")


class NotANumber(ValueError):
    """A field holds something else than a number."""


def is_missing(field: str) -> bool:
    """Whether a field stands for a value that is not there."""
    return field.strip().lower() in MISSING


def numbers(fields: Sequence[str], column: str, where: Callable[[int], str]) -> HostArray:
    """The fields of a column as float64, missing ones as NaN.

    Raises
    ------
    ValueError
        If one of them is no number: `where` says of its place how messages call the row.
    """
    try:
        array = np.fromiter(map(float, fields), np.float64, len(fields))
    except ValueError:
        pass
    else:
        if "_" not in "".join(fields):  # Python takes 1_000 for a number
            return array
    array = np.empty(len(fields))
    for k, field in enumerate(fields):
        try:
            array[k] = float(field)
            wrong = "_" in field
        except ValueError:
            array[k], wrong = np.nan, not is_missing(field)
        if wrong:
            raise NotANumber(not_a_number(field, column, where(k)))
    return array


def not_a_number(value: Any, column: str, where: str) -> str:
    """What to say of a value that is none."""
    if isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value):
        advice = "write decimals with a point"
    else:
        advice = (
            "name the columns that hold numbers by features=, that of labels by label=, and leave a field empty where "
            "its value is missing"
        )
    return f"{where} holds {shortened(value)} in the column {column!r}, where a number is expected: {advice}."


def shortened(value: Any) -> str:
    """A value as messages show it, long ones by their start."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}… ({len(value) if hasattr(value, '__len__') else len(text)} long)"


def several(label: str, separator: str) -> list[str]:
    """The labels that such a text stands for, none or more, each once, without the white space around them."""
    return list(dict.fromkeys(part.strip() for part in label.split(separator) if part.strip()))


def typed(labels: Sequence[str]) -> HostArray:
    """Labels as numbers where each gives its text back: whole ones as int64, others as float64, else strings.

    "007" and "1.10" may be names, the latter of something else than "1.1": they stay strings, and so do all beside
    them.
    """
    numbers = [_written_as(label) for label in labels]
    found = [number for number in numbers if number is not None]
    if len(found) < len(labels) or len(set(found)) < len(set(labels)):
        return np.array(labels)
    whole = [number for number in found if isinstance(number, int)]
    most = 2**63 if len(whole) == len(labels) else 2**53  # above it float64 has not every whole number
    if not all(-most <= number < most for number in whole):
        return np.array(labels)
    return np.array(found, dtype=np.int64 if len(whole) == len(labels) else np.float64)


def _written_as(label: str) -> int | float | None:
    """The number that Python writes as this text; None where there is none."""
    for kind in (int, float):
        try:
            number = kind(label)
        except ValueError:
            continue
        if str(number) == label and math.isfinite(number):
            return number
    return None


def times(fields: Sequence[str], column: str, where: Callable[[int], str]) -> HostArray:
    """Points in time: numbers as int64 or float64, ISO 8601 dates as datetime64 in UTC, in microseconds, or
    in nanoseconds where one has more digits.

    Raises
    ------
    ValueError
        If one of them is missing, or neither; or if dates with and without an offset from UTC are mixed.
    """
    try:
        return np.fromiter(map(int, fields), np.int64, len(fields))  # exact: float64 is not, for nanoseconds
    except (ValueError, OverflowError):
        pass
    try:
        array = np.fromiter(map(float, fields), np.float64, len(fields))
        if np.isfinite(array).all():
            return array
    except ValueError:
        pass
    try:
        # Of others NumPy may warn. To catch that would change what warnings do in every thread.
        if all(_PLAIN_DATE.fullmatch(field.strip()) for field in fields):
            unit = "ns" if any(map(_NANOSECONDS.search, fields)) else "us"
            dates = np.array([field.strip() for field in fields], dtype=f"datetime64[{unit}]")
            if not np.isnat(dates).any():
                return dates
    except ValueError:
        pass
    return _one_by_one(fields, column, where)


def _one_by_one(fields: Sequence[str], column: str, where: Callable[[int], str]) -> HostArray:
    """The way on which a field that is no point in time is found."""
    read: list[datetime] = []
    more: list[int] = []  # nanoseconds, which Python's dates do not have
    numeric = not is_missing(fields[0]) and _is_number(fields[0])
    for k, field in enumerate(fields):
        if is_missing(field):
            raise ValueError(f"{where(k)} has no time in the column {column!r}: fill it, or leave the row out.")
        if numeric:
            if not _is_number(field):
                raise ValueError(f"{where(k)} has the time {shortened(field)}, the rows before it have numbers.")
            continue
        try:
            date = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", _NANOSECONDS.sub("", field.strip())))
        except ValueError:
            raise ValueError(
                f"{where(k)} has the time {shortened(field)} in the column {column!r}, which is neither a number nor a "
                "date like 2024-05-31 or 2024-05-31T12:30:00."
            ) from None
        if read and (date.tzinfo is None) != (read[0].tzinfo is None):
            raise ValueError(
                f"{where(k)} has the time {shortened(field)}, {where(0)} has {shortened(fields[0])}: only one of them "
                "has an offset from UTC."
            )
        read.append(date)
        digits = _NANOSECONDS.search(field)
        more.append(0 if digits is None else int(digits[0].ljust(3, "0")))
    if numeric:
        return np.array([float(field) for field in fields])
    utc = [date if date.tzinfo is None else date.astimezone(timezone.utc).replace(tzinfo=None) for date in read]
    dates = np.array(utc, dtype="datetime64[us]")
    return dates.astype("datetime64[ns]") + np.array(more, dtype="timedelta64[ns]") if any(more) else dates


def _is_number(field: str) -> bool:
    try:
        return math.isfinite(float(field)) and "_" not in field
    except ValueError:
        return False
