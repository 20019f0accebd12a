"""Rows of a table that a field swallowed, because texts of two of them have a quotation mark each."""

from __future__ import annotations

import csv
from collections.abc import Sequence

FEW = 1000
"""A column of more different values than these is none of classes."""


class Swallowed:
    """Finds rows of several lines that are several rows.

    Such a row may be right: a text may have several lines. It is wrong where each of its lines would be a row of the
    table's width, were quotation marks part of a text, and in some column holds what stands in that of other rows: one
    of some few values, or a number. What stands there is learned of the rows that are a line each; a row that nothing
    is said of yet is looked at again.

    Parameters
    ----------
    name
        The table, for messages.
    width
        The number of its columns.
    delimiter
        What separates them.
    """

    def __init__(self, name: str, width: int, delimiter: str) -> None:
        self._name, self._width, self._delimiter = name, width, delimiter
        self._doubtful: list[tuple[int, int, list[list[str]]]] = []  # first line, last line, and what rows these are
        self._rows = 0
        self._values: dict[int, set[str]] = {column: set() for column in range(width)}
        self._numbers: set[int] = set()  # columns of numbers, more than a few

    def learn(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows of a line each."""
        self._rows += len(rows)
        for column, values in list(self._values.items()):
            values.update(row[column].strip() for row in rows if column < len(row))
            if len(values) > FEW:
                if all(map(_is_number, values)):
                    self._numbers.add(column)
                del self._values[column]

    def look_at(self, lines: list[str], last: int, fields: Sequence[str]) -> None:
        """A row of several lines, of which `last` is the number of the last one.

        Raises
        ------
        ValueError
            If it swallowed others: its lines.
        """
        rows = list(csv.reader(lines, delimiter=self._delimiter, quoting=csv.QUOTE_NONE))
        if self._width == 1 or any(len(row) != self._width for row in rows):
            return  # not each of the lines would be a row
        self._doubtful.append((last - len(lines) + 1, last, rows))
        if sum("\n" in field or "\r" in field for field in fields) > 1:
            raise self._wrong(last - len(lines) + 1, last)
        self.refuse()

    def refuse(self) -> None:
        """Raise where a row that was looked at swallowed others: to be asked at the end, when all others are known.

        Raises
        ------
        ValueError
            As `look_at`.
        """
        for first, last, rows in self._doubtful:
            if any(self._fits(column, [row[column].strip() for row in rows]) for column in range(self._width)):
                raise self._wrong(first, last)

    def _wrong(self, first: int, last: int) -> ValueError:
        return ValueError(
            f"{self._name} cannot be read as a table: the quotation mark that opens in line {first} swallows the lines "
            f"up to {last}, each of which looks like a row. Where a mark is part of a text, double it and put marks "
            "around the whole field; where these lines are one text, write the table as JSON lines"
        )

    def _fits(self, column: int, fields: list[str]) -> bool:
        """Whether all these are what stands in a column."""
        if any('"' in field for field in fields):
            return False
        values = self._values.get(column, set())
        if values and len(values) <= self._rows / 2 and values.issuperset(fields):
            return True
        of_numbers = column in self._numbers or (bool(values) and all(map(_is_number, values)))
        return of_numbers and all(map(_is_number, fields))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
