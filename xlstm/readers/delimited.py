"""CSV and TSV: the rows of a text file, column by column, its numbers made while it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..host import HostArray
from ..lines import Lines
from ..tables import Table, against_excess, counted
from . import fields
from .columns import Loaded, listed, separating
from .grouping import bare


class Delimited:
    """A file whose first line names the columns.

    Attributes
    ----------
    name : str
        The file.
    columns : list of str
        Its header.
    delimiter : str
        What separates the columns.
    """

    def __init__(self, path: str, delimiter: str | None, encoding: str) -> None:
        self._lines = Lines(path, encoding, "encoding=")
        try:
            self._table = Table(self._lines, {}, delimiter)
            self.name, self.columns, self.delimiter = self._table.name, self._table.columns, self._table.delimiter
            if not any(column.strip() for column in self.columns):
                raise ValueError(f"{self.name} begins with a line without names: the first line names the columns.")
            if len(self.columns) > 1 and _are_no_names(self.columns):
                raise ValueError(
                    f"{self.name} begins with numbers, {listed(self.columns, 3)}: the first line has to name the "
                    "columns."
                )
            if len(self.columns) == 1 and (separator := separating(self)) is not None:
                raise ValueError(
                    f"{self.name} has one column, {self.columns[0]!r:.80}, by the delimiter {self.delimiter!r}: say "
                    f"delimiter={separator!r}."
                )
        except BaseException:
            self._lines.__exit__()
            raise

    def __enter__(self) -> Delimited:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lines.__exit__()

    def load(self, numeric: Sequence[str], plain: Sequence[str], ends: bool = False) -> Loaded:
        """These columns of all rows, once. With `ends`, rows may have fewer fields than the header.

        Raises
        ------
        ValueError
            If a row has other fields than the header, or a field of a numeric column is no number.
        """
        places = [self.columns.index(column) for column in numeric]
        others = {column: self.columns.index(column) for column in plain}
        values: list[HostArray] = []
        texts: dict[str, list[str]] = {column: [] for column in plain}
        last: list[int] = []
        lines: list[HostArray] = []
        same: dict[str, str] = {}  # one object for all ids and labels that are alike
        for rows, at in self._blocks(short=ends):
            lines.append(np.array(at))
            columns = list(zip(*rows, strict=True))

            def where(k: int, at: Sequence[int] = at) -> str:
                return f"line {at[k]} of {self.name}"

            block = np.empty((len(rows), len(places)))
            for d, place in enumerate(places):
                block[:, d] = fields.numbers(columns[place], numeric[d], where)
            values.append(block)
            for column, place in others.items():
                texts[column] += [same.setdefault(field, field) for field in columns[place]]
            if ends:
                last += [_end(row, places) for row in rows]
        if not lines:
            raise ValueError(f"{self.name} has a header but no rows.")
        numbers = np.concatenate(lines)
        name = self.name  # not the file itself: a row's name may be asked for long after
        return Loaded(
            np.concatenate(values),
            {column: texts[column] for column in plain},
            lambda k: f"line {numbers[k]} of {name}",
            np.array(last) if ends else None,
        )

    def parts(self, rows: int, together: str | None = None) -> Iterator[Part]:
        """The rows that are still to come, about so many at a time; those with one value of a column are not parted.

        Raises
        ------
        ValueError
            If it is no table.
        """
        held: list[list[str]] = []
        at: list[int] = []
        place = None if together is None else self.columns.index(together)
        for block, lines in self._table.blocks():
            held += block
            at += lines
            while len(held) > rows:
                end = rows if place is None else _end_of_value(held, place, rows)
                if not end:
                    break
                yield Part(self, held[:end], at[:end])
                held, at = held[end:], at[end:]
        if held:
            yield Part(self, held, at)

    def _blocks(self, short: bool) -> Iterator[tuple[list[list[str]], Sequence[int]]]:
        """Rows of as many fields as there are columns, and the lines in which they end."""
        width = len(self.columns)
        for rows, at in self._table.blocks():
            if set(map(len, rows)) != {width}:
                rows = [self._filled(row, at[k], short) for k, row in enumerate(rows)]
            yield rows, at

    def _filled(self, row: list[str], line: int, short: bool) -> list[str]:
        width = len(self.columns)
        if len(row) > width or (len(row) < width and not short):
            advice = against_excess(self.delimiter)
            advice = advice if len(row) > width else "write those that are missing as empty fields"
            raise ValueError(
                f"line {line} of {self.name} has {counted(len(row), 'field')}, the header {width}: {advice}."
            )
        return row + [""] * (width - len(row))

    def hint(self, column: str) -> str | None:
        """Nowhere: there are columns alone."""
        return None

    def labels(self, values: Sequence[Any]) -> HostArray:
        """Labels, of which a file of texts does not say what they are: numbers where all are written as such."""
        return fields.typed(values)

    def times(self, column: str, values: Sequence[Any], where: Callable[[int], str]) -> HostArray:
        """A column of texts as points in time."""
        return fields.times(values, column, where)


class Part(Delimited):
    """Some rows of a file, like a file of their own: its `load` gives these."""

    def __init__(self, whole: Delimited, rows: list[list[str]], lines: list[int]) -> None:
        self.name, self.columns, self.delimiter = whole.name, whole.columns, whole.delimiter
        self._table: Any = _Rows(rows, lines)  # type: ignore[assignment]  # what `_blocks` asks of it
        self.span = f"lines {lines[0]} to {lines[-1]}"
        self.numeric: bool | None = None
        """Whether the labels of other parts are numbers; None where this is the first."""

    def labels(self, values: Sequence[Any]) -> HostArray:
        """The same; texts as they stand there where those of other parts are texts."""
        return np.array(values) if self.numeric is False else super().labels(values)


class _Rows(NamedTuple):
    rows: list[list[str]]
    lines: list[int]

    def blocks(self) -> Iterator[tuple[list[list[str]], Sequence[int]]]:
        yield self.rows, self.lines


def _end_of_value(rows: list[list[str]], place: int, wanted: int) -> int:
    """Where to cut rows, about as many as wanted before it, so that those of one value stay together; 0 for nowhere."""
    values = [bare(row[place]) if place < len(row) else "" for row in rows]
    end = wanted
    while end < len(values) and values[end] == values[end - 1]:
        end += 1
    if end < len(values):
        return end
    end = wanted
    while end and values[end] == values[end - 1]:
        end -= 1
    return end


def _are_no_names(columns: Sequence[str]) -> bool:
    """Whether they are numbers, as in a table without a header; those that rise may be times of columns."""
    try:
        values = [float(column) for column in columns]
    except ValueError:
        return False
    return any(later <= value for value, later in pairwise(values))


def _end(row: Sequence[str], places: Sequence[int]) -> int:
    """How many of these fields there are up to the last that is not empty."""
    end = len(places)
    while end and not row[places[end - 1]].strip():
        end -= 1
    return end
