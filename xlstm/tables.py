"""Tables of texts and labels: CSV and TSV in and out, from files and pipes, as they come.

A source is the path of a file, or `-` for standard input; what gzip compressed is unpacked, whatever its name.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from . import guesses, quotation
from .lines import Lines

Item = TypeVar("Item")

DELIMITERS = (",", "\t", ";", "|")
"""What usually separates columns: what to name where another fails."""
_UNQUOTED = "write it without them (quote=FALSE in R, quoting=csv.QUOTE_NONE in pandas)"


class Row(NamedTuple):
    """One row of a table."""

    number: int  # from 1 on; neither the header nor the blank lines that are no rows are counted
    line: int  # of the file, in which the row ends
    fields: list[str]  # as they stand there: may be more or fewer than the columns


def together(items: Iterable[Item | None], ready: Callable[[], bool]) -> Iterator[list[Item]]:
    """What is here together, None left out: a list ends where the next item would have to be waited for."""
    here: list[Item] = []
    for item in items:
        if item is not None:
            here.append(item)
        if here and not ready():
            yield here
            here = []
    if here:
        yield here


class _Records:
    """The rows of lines as lists of fields; of the last of them, the lines too.

    Text after a closing quotation mark, or a quotation mark that is never closed, is a csv.Error where this is strict.
    """

    def __init__(self, lines: Lines, delimiter: str, strict: bool = True) -> None:
        self.taken: list[str] = []
        self._lines, self._delimiter = lines, delimiter
        self._reader = quotation.fields(self._noted(), delimiter, strict)

    def _noted(self) -> Iterator[str]:
        for line in self._lines:
            self.taken.append(line)
            yield line

    def __iter__(self) -> _Records:
        return self

    def __next__(self) -> list[str]:
        self.taken = []
        return next(self._reader)

    def wrong(self, error: csv.Error) -> ValueError:
        """What to say of the error that was raised for the last row."""
        return quotation.wrong(self._lines.name, self._delimiter, self.taken, self._lines.count, error)


class Table:
    """A table whose first line names the columns.

    In a table of one column a blank line is a row with an empty field, elsewhere it is no row. Where tabs separate the
    columns, quotation marks are part of a field, and a field holds neither a tab nor the end of a line; a warning tells
    of those that look as CSV has them.

    Parameters
    ----------
    lines
        Where it comes from. The header is read at once, the rows when they are asked for.
    wanted
        Columns that it has to have, by the flag that names each.
    delimiter
        What separates the columns. None is a tab where the name ends in .tsv or .tab, else a comma.
    likely
        What separates them where the header does not have the wanted columns by that.

    Attributes
    ----------
    name : str
        The source, for messages.
    columns : list of str
        The header.
    delimiter : str
        What separates them.

    Raises
    ------
    ValueError
        If it has no header, or one with wrong quotation marks, or it lacks a wanted column, or has two of it; if all
        columns stand in quotation marks, and tabs separate them.
    """

    def __init__(
        self, lines: Lines, wanted: dict[str, str], delimiter: str | None = None, likely: Sequence[str] = ()
    ) -> None:
        csv.field_size_limit(2**31 - 1)  # long documents are texts too
        self.name, self._lines = lines.name, lines
        tabs = Path(self.name.removesuffix(".gz")).suffix.lower() in (".tsv", ".tab")
        usual = "\t" if tabs else ","
        tried = [delimiter] if delimiter is not None else [usual, *likely]
        found = self._fitting(tried, wanted)
        self.delimiter = tried[0] if found is None else found
        fitting = self._fitting(DELIMITERS, wanted) if found is None else found
        # Where another separates the columns, quotation marks are wrong only because this one does not.
        header = _Records(lines, self.delimiter, strict=found == fitting)
        try:
            self.columns = next(header, [])
        except csv.Error as error:
            raise header.wrong(error) from None
        if not self.columns:
            raise ValueError(f"{self.name} is empty: the first line has to name the columns")
        if self.delimiter == "\t" and all(len(name) > 1 and name[0] == name[-1] == '"' for name in self.columns):
            raise ValueError(
                f"{self.name} has its columns in quotation marks, which are part of a field where tabs separate the "
                f"columns: {_UNQUOTED}, or as CSV"
            )
        self._swallowed = quotation.Swallowed(self.name, len(self.columns), self.delimiter)
        self._doubted = self.delimiter != "\t"
        for flag, column in wanted.items():
            if column not in self.columns:
                raise ValueError(self._lacking(flag, column, fitting))
            if self.columns.count(column) > 1:
                raise ValueError(
                    f"{self.name} has {self.columns.count(column)} columns {column!r}: name them differently"
                )

    def _fitting(self, delimiters: Sequence[str], wanted: dict[str, str]) -> str | None:
        """The first by which the header has the wanted columns; the header is put back."""
        for delimiter in delimiters:
            header = _Records(self._lines, delimiter)
            columns: list[str] = []
            with contextlib.suppress(csv.Error):  # wrong quotation marks fit nothing
                columns = next(header, [])
            self._lines.put_back(header.taken)
            if set(wanted.values()) <= set(columns):
                return delimiter
        return None

    def _lacking(self, flag: str, column: str, fitting: str | None) -> str:
        """What to say of a header without a wanted column, and of a delimiter by which it has all of them."""
        names = ", ".join(f"{name:.60}" for name in self.columns)
        first = f"{self.name} has no column {column!r}; its first line names: {names}. "
        if fitting is not None:
            return (
                f"{first}Tabs separate them: say --delimiter tab"
                if fitting == "\t"
                else (f"{first}What separates them is {fitting!r}: say --delimiter {fitting!r}")
            )
        return f"{first}Name the column by {flag}, or what separates the columns by --delimiter"

    def rows(self) -> Iterator[Row | None]:
        """One after another, as they come; None for a blank line that is no row.

        Raises
        ------
        ValueError
            Where the source is no table, and where quotation marks are wrong: the message names the line of the first.
            Some are known to be wrong only at the end.
        """
        number, records = 0, _Records(self._lines, self.delimiter)
        blank = [""] if len(self.columns) == 1 else []
        try:
            for fields in records:
                self._doubt(records.taken)
                fields = fields or [*blank]
                number += bool(fields)
                if len(records.taken) > 1:
                    self._swallowed.look_at(records.taken, self._lines.count, fields)
                elif fields:
                    self._swallowed.learn([fields])
                yield Row(number, self._lines.count, fields) if fields else None
        except csv.Error as error:
            raise records.wrong(error) from None
        self._swallowed.refuse()

    def blocks(self) -> Iterator[tuple[list[list[str]], Sequence[int]]]:
        """The rows that are here together, and the lines in which they end: in less time than one by one.

        Raises
        ------
        ValueError
            As `rows`.
        """
        while lines := self._lines.here():
            last = self._lines.count
            self._doubt(lines)
            with contextlib.suppress(csv.Error):
                rows = list(quotation.fields(lines, self.delimiter))
                if len(rows) == len(lines) and all(rows):
                    self._swallowed.learn(rows)
                    yield rows, range(last - len(rows) + 1, last + 1)
                    continue
            # Blank lines, fields that hold the end of a line, or wrong quotation marks.
            self._lines.put_back(lines)
            slowly: list[Row] = []
            for row in self.rows():
                if row is not None:
                    slowly.append(row)
                if self._lines.count >= last:
                    break
            if slowly:
                yield [row.fields for row in slowly], [row.line for row in slowly]
        self._swallowed.refuse()

    def _doubt(self, lines: Sequence[str]) -> None:
        """Warn, once, where one of the last lines was written as CSV is, but for the tabs."""
        for line, text in enumerate([] if self._doubted else lines, start=self._lines.count - len(lines) + 1):
            if '""' in text and any(map(quotation.is_csv, text.rstrip("\r\n").split("\t"))):
                self._doubted = True
                guesses.warn(
                    f"line {line} of {self.name} has a field in quotation marks with doubled ones in it, as CSV has "
                    f"them: where tabs separate the columns, all marks are part of a field. If they are not meant, "
                    f"{_UNQUOTED}, or as CSV."
                )
                return

    def value(self, row: Row, column: str) -> str:
        """Of one column; empty where the row ends before it."""
        place = self.columns.index(column)
        return row.fields[place] if place < len(row.fields) else ""

    def where(self, row: Row) -> str:
        """How messages name a row."""
        return f"row {row.number} of {self.name} (it ends in line {row.line})"

    def excess(self, row: Row) -> str | None:
        """What is wrong with a row that has more fields than there are columns; None where it has not."""
        if len(row.fields) <= len(self.columns):
            return None
        return (
            f"{self.where(row)} has {counted(len(row.fields), 'field')}, the header {len(self.columns)}: "
            f"{against_excess(self.delimiter)}"
        )


def counted(number: int, what: str) -> str:
    """A number and what it counts, as 1 row and 2 rows."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def against_excess(delimiter: str) -> str:
    """What to do about rows of more fields than there are columns."""
    if delimiter == "\t":
        return "a field holds no tab, for there are no quotation marks around it: write texts with tabs as CSV"
    return f"quote fields that hold a {delimiter!r}"


def content(rows: Iterable[Sequence[str]], delimiter: str) -> bytes:
    """Such rows as a file in UTF-8, which `Table` reads as they are.

    Fields are quoted where that is needed; where tabs separate them they are as they were read, without tabs and ends
    of lines.
    """
    if delimiter == "\t":
        return "".join(["\t".join(row) + "\r\n" for row in rows]).encode()
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue().encode()
