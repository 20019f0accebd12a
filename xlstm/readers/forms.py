"""The forms of a table: long, where a row is a step; wide, where it is a series; texts, one a row."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dataset import Dataset, Sequences
from ..guesses import AmbiguousDataWarning
from ..labels import callers_level
from .columns import Asked, Roles, Source, check_separator, roles
from .fields import NotANumber
from .grouping import Groups, Where, grouped, labels_of, since_the_step_before


def read(source: Source, asked: Asked) -> Dataset:
    """The sequences of a table, in the form that its named columns say.

    Raises
    ------
    ValueError
        If a column is missing, a row wrong, or the named columns do not go together.
    """
    _together(asked)
    check_separator(asked)
    found = roles(source, asked)
    if not asked.labelled:
        found = found._replace(label=None)
    if found.id is not None:
        return long(source, asked, found)
    if found.text is not None:
        return texts(source, asked, found)
    return wide(source, asked, found)


def _together(asked: Asked) -> None:
    """Raise where one argument needs another."""
    if asked.id is None:
        for argument, value in (
            ("time", asked.time),
            ("delta", asked.delta),
            ("label_each_step", asked.label_each_step or None),
        ):
            if value is not None:
                raise ValueError(
                    f"{argument}= is for tables in long form, a step a row: name the column that says which sequence a "
                    "row belongs to by id=."
                )
    elif asked.delta is not None:
        if asked.time is None:
            raise ValueError("delta= is the time since the step before: name the column of times by time=.")
        if not isinstance(asked.delta, str):
            raise TypeError(f"delta= is the name of a new feature, a string, got {asked.delta!r:.60}.")


def long(source: Source, asked: Asked, found: Roles) -> Dataset:
    """A row is a step of the sequence that its id names; the rows of an id may stand anywhere."""
    assert found.id is not None
    if asked.delta is not None and asked.delta in found.features:
        raise ValueError(f"the new feature of delta= cannot be called {asked.delta!r}: a column has that name.")
    plain = [column for column in (found.id, found.time, found.text, found.label) if column is not None]
    rows = source.load(found.features, plain)
    where = rows.where
    times = None if found.time is None else source.times(found.time, rows.plain[found.time], where)
    groups = grouped(rows.plain[found.id], found.id, times, asked.sort, where)
    y = None
    if found.label is not None:
        y = labels_of(rows.plain[found.label], found.label, groups, asked, where, source.labels)
    if asked.label_each_step and y is None:
        raise ValueError(f"label_each_step=True, but {source.name} has no labels: name their column by label=.")
    _many_of_one_step(source, found, groups)
    if found.text is not None:
        return Dataset(_tokens(rows.plain[found.text], found.text, groups, where), y, groups.ids)
    values, names = rows.values, found.features
    if not _in_order(groups.order):
        values = values[groups.order]
    if asked.delta is not None:
        passed = since_the_step_before(groups).astype(values.dtype)
        values, names = np.concatenate([values, passed[:, None]], axis=1), (*names, asked.delta)
    return Dataset(Sequences(values, groups.lengths, names), y, groups.ids)


def _in_order(order: Any) -> bool:
    return bool((order[1:] > order[:-1]).all())


def _many_of_one_step(source: Source, found: Roles, groups: Groups) -> None:
    if len(groups.ids) > 1 and groups.lengths.max() == 1:
        warnings.warn(
            f"each of the {len(groups.ids)} rows of {source.name} has an id of its own in the column {found.id!r}, so "
            "each is a sequence of one step. If a row is a whole sequence, leave id= out.",
            AmbiguousDataWarning,
            stacklevel=callers_level(),
        )


def _tokens(column: Sequence[Any], name: str, groups: Groups, where: Where) -> list[list[str]]:
    for k, token in enumerate(column):
        if not isinstance(token, str) or not token:
            raise ValueError(f"{where(k)} has no token in the column {name!r}: fill it, or leave the row out.")
    ends = np.cumsum(groups.lengths).tolist()
    ordered = [column[k] for k in groups.order.tolist()]
    return [ordered[end - length : end] for end, length in zip(ends, groups.lengths.tolist(), strict=True)]


def wide(source: Source, asked: Asked, found: Roles) -> Dataset:
    """A row is a series of one feature, its columns the steps. Empty fields at its end are no steps of it."""
    plain = [] if found.label is None else [found.label]
    try:
        rows = source.load(found.features, plain, ends=True)
    except NotANumber as error:
        raise ValueError(f"{error} Where a row is a step, name the column of its sequence's id by id=.") from None
    ends = rows.ends
    assert ends is not None
    if (ends == 0).any():
        raise ValueError(f"{rows.where(int(np.argmin(ends)))} has no values: fill it, or leave it out.")
    steps = np.arange(rows.values.shape[1])[None, :] < ends[:, None]
    y = None if found.label is None else _one_each(source, asked, rows.plain[found.label], found.label, rows.where)
    return Dataset(Sequences(rows.values[steps], ends), y)


def texts(source: Source, asked: Asked, found: Roles) -> Dataset:
    """A row is a text and, where there is a label, its label."""
    assert found.text is not None
    plain = [found.text] if found.label is None else [found.text, found.label]
    rows = source.load((), plain)
    X = rows.plain[found.text]
    for k, text in enumerate(X):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{rows.where(k)} has no text in the column {found.text!r}: fill it, or leave it out.")
    y = None if found.label is None else _one_each(source, asked, rows.plain[found.label], found.label, rows.where)
    return Dataset(list(X), y)


def _one_each(source: Source, asked: Asked, labels: Sequence[Any], column: str, where: Where) -> Any:
    n = len(labels)
    alone = Groups(list(range(n)), np.arange(n), np.ones(n, dtype=np.int64), None)
    return labels_of(labels, column, alone, asked, where, source.labels)
