"""Rows of a table to sequences: which row belongs to which id, in which order, and which label that has."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..guesses import AmbiguousDataWarning
from ..host import HostArray, is_missing
from ..labels import callers_level
from ..tables import counted
from . import fields
from .columns import Asked

Where = Callable[[int], str]


class Groups(NamedTuple):
    """The rows of each id together."""

    ids: list[Any]  # in the order of their first rows
    order: HostArray  # (rows,): the rows, those of the first id first, each id's in the order of time
    lengths: HostArray  # (ids,)
    times: HostArray | None  # (rows,), in that order


def grouped(ids: Sequence[Any], column: str, times: HostArray | None, sort: bool, where: Where) -> Groups:
    """The rows of each id, in the order of time where there is one, else as they stand.

    Raises
    ------
    ValueError
        If an id is missing; if two rows of an id have one time; if times go back, where they are not to be sorted.
    """
    codes, unique = numbered(ids, column)
    for name in unique:
        if _is_nothing(name):
            row = int(np.argmax(codes == unique.index(name)))
            raise ValueError(f"{where(row)} has no id in the column {column!r}: fill it, or leave the row out.")
    lengths = np.bincount(codes, minlength=len(unique))
    order = np.argsort(codes, kind="stable")
    if times is None:
        return Groups(unique, order, lengths, None)
    if sort:
        order = np.lexsort((times, codes))  # stable: equal times stay in the order of their rows
    ordered, steps = codes[order], times[order]
    inside = ordered[1:] == ordered[:-1]
    wrong = inside & ((steps[1:] == steps[:-1]) if sort else (steps[1:] <= steps[:-1]))
    if wrong.any():
        k = int(np.argmax(wrong))
        first, second = where(int(order[k])), where(int(order[k + 1]))
        name, time, before = unique[ordered[k]], shown(steps[k + 1]), shown(steps[k])
        if steps[k] == steps[k + 1]:
            raise ValueError(
                f"the id {name!r} has the time {time} twice, in {first} and {second}: leave one of them out, or tell "
                "the sequences apart by other ids."
            )
        raise ValueError(
            f"the times of the id {name!r} go back, from {before} in {first} to {time} in {second}: sort=True sorts "
            "them."
        )
    return Groups(unique, order, lengths, steps)


def bare(value: Any) -> Any:
    """An id or a label as it counts: white space around a text is no part of it."""
    return value.strip() if isinstance(value, str) else value


def numbered(values: Sequence[Any], column: str) -> tuple[HostArray, list[Any]]:
    """The number of each value among the different ones, in the order in which these appear."""
    seen: dict[Any, int] = {}
    try:
        codes = np.fromiter((seen.setdefault(bare(value), len(seen)) for value in values), np.int64, len(values))
    except TypeError:
        odd = next(value for value in values if isinstance(value, (list, dict, set, np.ndarray)))
        raise ValueError(
            f"the column {column!r} holds {type(odd).__name__}, such as {fields.shortened(odd)}, where each row has "
            "one value."
        ) from None
    return codes, list(seen)


def _is_nothing(value: Any) -> bool:
    return is_missing(value) or (isinstance(value, str) and fields.is_missing(value) and value.strip() != "?")


def shown(time: Any) -> str:
    """A point in time, for messages."""
    return re.sub(r"\.0+$", "", str(time)) if isinstance(time, np.datetime64) else str(time)


def since_the_step_before(groups: Groups) -> HostArray:
    """The time since the step before, in the unit of the times, for dates in seconds; 0 for a first step."""
    times = groups.times
    assert times is not None
    passed = np.zeros(len(times))
    differences = np.diff(times)
    if differences.dtype.kind == "m":
        passed[1:] = differences / np.timedelta64(1, "s")
    else:
        passed[1:] = differences
    passed[np.cumsum(groups.lengths) - groups.lengths] = 0
    return passed


def labels_of(
    labels: Sequence[Any],
    column: str,
    groups: Groups,
    asked: Asked,
    where: Where,
    as_labels: Callable[[Sequence[Any]], HostArray],
) -> Any:
    """One label for each id, (ids,); None where no row has one.

    With `label_each_step` a list of arrays (time_i,); with a `separator` a list of the labels of each id, none or more.
    `as_labels` says what a source makes an array of them by.

    Raises
    ------
    ValueError
        If a row has none, and may not, or, where there is one for each id, an id has two.
    """
    codes, unique = numbered(labels, column)
    nothing = np.array([is_missing(label) or (isinstance(label, str) and not label) for label in unique])
    if asked.separator is not None:
        marked = zip(unique, nothing.tolist(), strict=True)
        parts = [[] if none else fields.several(str(label), asked.separator) for label, none in marked]
        return [list(parts[code]) for code in _of_each_id(codes, unique, column, groups, where).tolist()]
    if nothing.all():
        return None
    missing = nothing[codes]
    if missing.any():
        row = int(np.argmax(missing))
        remedy = "fill it, or leave the row out."
        if asked.label_each_step:  # a row less would be a step less
            remedy = (
                "fill it, with a label that stands for none, such as '?', where there is none, and name that by ignore."
            )
        raise ValueError(f"{where(row)} has no label in the column {column!r}, others have one: {remedy}")
    _doubt_missing_ones(unique, codes, column, where, as_labels, asked.label_each_step)
    names = as_labels(unique)
    if asked.label_each_step:
        return np.split(names[codes[groups.order]], np.cumsum(groups.lengths)[:-1])
    return names[_of_each_id(codes, unique, column, groups, where)]


def _of_each_id(codes: HostArray, unique: Sequence[Any], column: str, groups: Groups, where: Where) -> HostArray:
    """(ids,) The number of the label that all rows of an id have."""
    ordered = codes[groups.order]
    ends = np.cumsum(groups.lengths)
    firsts = ends - groups.lengths
    other = ordered != np.repeat(ordered[firsts], groups.lengths)
    if other.any():
        k = int(np.argmax(other))
        group = int(np.searchsorted(ends, k, side="right"))
        first = int(firsts[group])
        raise ValueError(
            f"the id {groups.ids[group]!r} has two labels in the column {column!r}, {unique[ordered[first]]!r} in "
            f"{where(int(groups.order[first]))} and {unique[ordered[k]]!r} in {where(int(groups.order[k]))}: a "
            "sequence has one, unless label_each_step=True says that each step has its own."
        )
    found: HostArray = ordered[firsts]
    return found


def _doubt_missing_ones(
    unique: Sequence[Any],
    codes: HostArray,
    column: str,
    where: Where,
    as_labels: Callable[[Sequence[Any]], HostArray],
    each_step: bool,
) -> None:
    """Labels such as "NA": an error among numbers, which they would make texts; else warned of, for they may be meant.

    Raises
    ------
    ValueError
        If all others are numbers: the first row is named.
    """
    like = [isinstance(label, str) and fields.is_missing(label) for label in unique]
    if not any(like):
        return
    rows = np.array(like)[codes]
    row = int(np.argmax(rows))
    mark, others = unique[int(codes[row])], [label for label, one in zip(unique, like, strict=True) if not one]
    if others and as_labels(others).dtype.kind in "iuf":
        raise ValueError(
            f"{where(row)} has the label {mark!r} in the column {column!r}, others have numbers: fill it, or "
            + ("name a number by ignore that stands for none." if each_step else "leave the row out.")
        )
    often = f"{where(row)} has the label {mark!r} in the column {column!r}, which often stands for one that is missing"
    of_this_kind = f"({counted(int(rows.sum()), 'row')} of this kind)"
    warnings.warn(
        f"{often}: it is a class like any other unless ignore names it {of_this_kind}."
        if each_step
        else f"{often}: it was taken for a class like any other {of_this_kind}. If none is meant, leave such rows out.",
        AmbiguousDataWarning,
        stacklevel=callers_level(),
    )


def named(values: Sequence[Any]) -> HostArray:
    """Labels that have types as an array: texts stay texts."""
    array = np.array(values) if not any(isinstance(value, (list, tuple)) for value in values) else np.empty((0, 0))
    if array.ndim == 1 and (array.dtype.kind in "biuf" or all(isinstance(value, str) for value in values)):
        return array
    mixed = np.empty(len(values), dtype=object)  # the estimators say what is wrong with them
    for k, value in enumerate(values):
        mixed[k] = value
    return mixed


def steps_of(labels: Sequence[Sequence[Any]]) -> list[HostArray]:
    """The labels of the steps of each sequence, all of one type."""
    together = named([label for row in labels for label in row])
    return np.split(together, np.cumsum([len(row) for row in labels])[:-1])
