"""Which columns of a table are what: the id, the time, the features, the label; what is said where one is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol

from ..host import HostArray
from ..tables import DELIMITERS

LABEL = "label"
"""The column of labels where none is named and there is one of this name."""
TEXT = "text"
"""The same for texts."""


class Asked(NamedTuple):
    """What a user said of the columns: the arguments of `xlstm.read`."""

    id: str | None = None
    time: str | None = None
    features: Sequence[str] | None = None
    label: str | None = None
    text: str | None = None
    delta: str | None = None
    label_each_step: bool = False
    sort: bool = True
    separator: str | None = None
    labelled: bool = True  # False: labels are neither needed nor looked at, and are no features


class Loaded(NamedTuple):
    """The rows of a table, column by column."""

    values: HostArray  # (rows, D), float32 or float64: the numeric columns that were asked for
    plain: Mapping[str, Sequence[Any]]  # the others, as they stand there
    where: Callable[[int], str]  # how messages call a row
    ends: HostArray | None = None  # (rows,): the numeric fields up to the last that is not empty, where asked for


class Source(Protocol):
    """A table, wherever it comes from."""

    name: str
    columns: list[str]

    def load(self, numeric: Sequence[str], plain: Sequence[str], ends: bool = False) -> Loaded:
        """These columns of all rows."""
        ...

    def hint(self, column: str) -> str | None:
        """Where something of this name is that is no column."""
        ...

    def labels(self, values: Sequence[Any]) -> HostArray:
        """Labels as an array of one type."""
        ...

    def times(self, column: str, values: Sequence[Any], where: Callable[[int], str]) -> HostArray:
        """A plain column as points in time."""
        ...


class Roles(NamedTuple):
    """The columns of a table by what they are."""

    id: str | None
    time: str | None
    features: tuple[str, ...]  # empty where there is a text
    label: str | None
    text: str | None


def roles(source: Source, asked: Asked) -> Roles:
    """Which column is what, of those that were named and, where none was, of all the rest.

    Raises
    ------
    ValueError
        If a column is not there, or there twice, or two roles have one column, or no features are left.
    TypeError
        If a name is no string.
    """
    if not asked.labelled and asked.label not in source.columns:
        asked = asked._replace(label=None)
    named = {"id=": asked.id, "time=": asked.time, "label=": asked.label, "text=": asked.text}
    seen: dict[str, str] = {}
    for role, column in named.items():
        if column is None:
            continue
        _expect_name(role, column)
        present(source, column, role)
        if column in seen:
            raise ValueError(f"the column {column!r} cannot be both {seen[column]} and {role}: name two.")
        seen[column] = role
    if asked.features is not None and isinstance(asked.features, str):
        raise TypeError(f"features must be a list of columns, got the string {asked.features!r}: [{asked.features!r}].")
    text = asked.text
    if text is None and asked.id is None and asked.features is None and TEXT in source.columns and TEXT not in seen:
        text = TEXT
    taken = {*seen, *(asked.features or ())}
    label = asked.label
    if label is None and LABEL in source.columns and LABEL not in taken:
        label = LABEL
    for column in (text, label):
        if column is not None:
            present(source, column, "text=" if column == text else "label=")
    if text is not None:
        if asked.features is not None:
            raise ValueError("texts have no features: name columns by text= or by features=, not by both.")
        return Roles(asked.id, asked.time, (), label, text)
    if asked.features is not None:
        features = tuple(asked.features)
        for column in features:
            _expect_name("features=", column)
            present(source, column, "features=")
            if column in seen:
                raise ValueError(f"the column {column!r} cannot be both {seen[column]} and a feature: name two.")
        twice = [column for column, count in Counter(features).items() if count > 1]
        if twice:
            raise ValueError(f"features= names the column {twice[0]!r} twice.")
    else:
        features = tuple(column for column in source.columns if column not in (*seen, label))
        for column in features:
            if not column.strip():
                raise ValueError(
                    f"column {source.columns.index(column) + 1} of {source.name} has no name. Is it the index of a "
                    "frame, which pandas writes unless it is told index=False? Name the columns of numbers by "
                    "features=, or name it."
                )
            present(source, column, "features=")
    if not features:
        raise ValueError(f"{source.name} has no column left for features: it has {listed(source.columns)}.")
    return Roles(asked.id, asked.time, features, label, None)


def check_separator(asked: Asked) -> None:
    """Raise where what is to stand between several labels is no such thing, or no sequence can have several.

    Raises
    ------
    ValueError
        What was expected.
    """
    if asked.separator is None:
        return
    if not isinstance(asked.separator, str) or not asked.separator.strip():
        raise ValueError(
            f"separator must be a character or more, and no white space alone, such as ';', got {asked.separator!r}."
        )
    if asked.label_each_step:
        raise ValueError(
            "separator= is for several labels of a whole sequence, label_each_step=True for one of each step: leave "
            "one of them out."
        )


def _expect_name(role: str, column: Any) -> None:
    if not isinstance(column, str):
        raise TypeError(f"{role} takes the name of a column, a string, got {column!r:.60}.")


def present(source: Source, column: str, role: str) -> None:
    """Raise where a table has no such column, or several."""
    count = source.columns.count(column)
    if count > 1:
        raise ValueError(f"{source.name} has {count} columns {column!r}: give each a name of its own.")
    if count == 1:
        return
    text = f"{source.name} has no column {column!r} ({role}): it has {listed(source.columns)}."
    near = get_close_matches(column, source.columns, 1) or [
        other for other in source.columns if other.strip().lower() == column.strip().lower()
    ]
    hint = source.hint(column)
    separator = separating(source, column)
    if separator is not None:
        text += f" Separated by {separator!r} its first line has it: say delimiter={separator!r}."
    elif hint is not None:
        text += f" {hint[0].upper()}{hint[1:]}."
    elif near:
        text += f" Is {near[0]!r} meant?"
    raise ValueError(text)


def separating(source: Source, column: str | None = None) -> str | None:
    """What would cut a header into more columns, this one among them; None where nothing does."""
    own = getattr(source, "delimiter", None)
    if own is None:
        return None
    header = own.join(source.columns)
    for delimiter in DELIMITERS:
        parts = [part.strip().strip('"') for part in header.split(delimiter)]
        if delimiter != own and len(parts) > len(source.columns) and (column is None or column in parts):
            return delimiter
    return None


def listed(names: Sequence[str], shown: int = 10) -> str:
    """Names for a message, the first of them."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"{name!r:.60}" for name in names[:shown]) + more
