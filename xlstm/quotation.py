"""What quotation marks mean in a table, and where they are wrong."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import Any

FEW = 1000
"""A column of more different values than these is none of classes."""
ENOUGH = 100_000
"""So many rows say what usually stands in a column."""


def fields(lines: Iterable[str], delimiter: str, strict: bool = True) -> Any:
    """The rows of lines as lists of fields. Where tabs separate them, quotation marks are part of a field."""
    return csv.reader(
        lines,
        delimiter=delimiter,
        strict=strict,
        quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
    )


def is_csv(field: str) -> bool:
    """Whether a field is what CSV makes of a text that holds quotation marks: in marks, those within doubled."""
    within = field[1:-1]
    return len(field) > 1 and field[0] == field[-1] == '"' and '""' in within and '"' not in within.replace('""', "")


def wrong(name: str, delimiter: str, lines: Sequence[str], last: int, error: csv.Error) -> ValueError:
    """What to say of the error that was raised for a row, and of the quotation mark that is to blame.

    Parameters
    ----------
    name
        The table.
    lines, last
        Those of the row, and the number of the last of them.
    """
    text, end = "".join(lines), re.escape(delimiter)
    # All fields before the wrong one are whole: in quotation marks, or without one in front.
    whole = re.compile(rf'(?:"[^"]*(?:""[^"]*)*"|[^"{end}\r\n][^{end}\r\n]*)?{end}')
    place = 0
    while (field := whole.match(text, place)) is not None:
        place = field.end()
    if text[place : place + 1] != '"' or "NUL" in str(error):  # Python 3.10 takes no NUL
        return ValueError(f"{name} cannot be read as a table, line {last}: {error}")
    line = last - len(lines)
    for part in lines:
        line += 1
        if place < len(part):
            break
        place -= len(part)
    closed = "is never closed" if "end of data" in str(error) else f"is closed in line {last}, before more text"
    return ValueError(
        f"{name} cannot be read as a table: the quotation mark that opens in line {line} {closed}. "
        "Quotation marks stand around a whole field, and those within are doubled"
    )


class Swallowed:
    """Finds rows of several lines that are several rows.

    Such a row may be right: a text may have several lines. It is wrong where each of its lines would be a row of the
    table's width, were quotation marks part of a text, and these rows hold what others hold: in some column one of some
    few values, or numbers, and in no such column mostly something else. What stands there is learned of the rows that
    are a line each: so a row is judged when many of these are known, and at the end.

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
        # First line, last line, what rows these are, and whether several of the row's fields hold ends of lines.
        self._doubtful: list[tuple[int, int, list[list[str]], bool]] = []
        self._rows = 0
        self._values: dict[int, set[str]] = {column: set() for column in range(width)}
        self._numbers: set[int] = set()  # columns of numbers, more than a few

    def learn(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows of a line each."""
        if self._rows >= ENOUGH:
            return
        self._rows += len(rows)
        for column, values in list(self._values.items()):
            values.update(row[column].strip() for row in rows if column < len(row))
            values.discard("")  # there is nothing
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
        several = sum("\n" in field or "\r" in field for field in fields) > 1
        self._doubtful.append((last - len(lines) + 1, last, rows, several))
        if self._rows >= FEW:
            self._check(*self._doubtful[-1])

    def refuse(self) -> None:
        """Raise where a row that was looked at swallowed others: to be asked at the end, when all others are known.

        Raises
        ------
        ValueError
            As `look_at`.
        """
        for doubtful in self._doubtful:
            self._check(*doubtful)

    def _check(self, first: int, last: int, rows: list[list[str]], several: bool) -> None:
        """Raise where these are rows of their own; `several` as there are such in the row that swallowed them."""
        columns = [[field.strip() for field in fields] for fields in zip(*rows, strict=True)]
        # The first mark may be part of its text; what stands in other columns has none where these are rows.
        opens = next((column for column, fields in enumerate(columns) if '"' in fields[0]), None)
        told = [self._fits(fields, column) for column, fields in enumerate(columns) if column != opens]
        if False not in told and (several or True in told):
            raise self._wrong(first, last)

    def _wrong(self, first: int, last: int) -> ValueError:
        return ValueError(
            f"{self._name} cannot be read as a table: the quotation mark that opens in line {first} swallows the lines "
            f"up to {last}, each of which looks like a row. Where a mark is part of a text, double it and put marks "
            "around the whole field; where these lines are one text, write the table as JSON lines"
        )

    def _fits(self, fields: list[str], column: int) -> bool | None:
        """Whether these are what stands in a column: False where half of them are not, None where nobody can say."""
        values, fields = self._values.get(column, set()), list(filter(None, fields))
        of_numbers = column in self._numbers or (bool(values) and all(map(_is_number, values)))
        of_few = 0 < len(values) <= self._rows / 2
        if not fields or not (of_numbers or of_few):
            return None
        alike = sum(_is_number(field) if of_numbers else field in values for field in fields)
        if alike >= 3 / 4 * len(fields):  # a value of these rows alone is known of none
            return True
        return False if alike <= len(fields) / 2 else None


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
