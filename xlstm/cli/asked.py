"""What `predict` is to answer, in blocks of sequences that are here together, from wherever they come.

Texts come from arguments, lines or a column; series of numbers, and what else `xlstm.read` reads, from a file as a
whole; a long table on standard input sequence by sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .. import tables
from ..dataset import Dataset, Sequences
from ..fitted import Table
from ..lines import STANDARD_INPUT, Lines
from ..readers.delimited import Delimited
from ..readers.grouping import bare
from . import given, reading
from .common import Failure, is_empty
from .letters import readable, typed

AT_ONCE = 4096
"""So many sequences of a file are answered together: their answers need no more memory."""


class Block(NamedTuple):
    """Some sequences to answer."""

    key: str  # what `names` are: "text", "id" or "sequence"
    X: Any
    names: list[str]  # what stands for each in the answers
    rows: range | list[int]  # of each, from 1 on: the argument, the line, the row of the table, the sequence
    where: Callable[[int], str]  # the same for messages, by the place in these lists
    wrong: dict[int, str]  # why some cannot be answered, by their places


# ---------------------------------------------------------------- texts


def of_arguments(texts: list[str], split: str) -> Iterator[Block]:
    """All of them at once."""
    wrong: dict[int, str] = {}
    for place, text in enumerate(texts):
        try:
            typed(text)
        except UnicodeError:
            wrong[place] = (
                f"text {place + 1}, {readable(text)!r:.80}, is not UTF-8: give it as a line of a file by --lines, with "
                "its --encoding"
            )
    yield _texts(list(map(readable, texts)), range(1, len(texts) + 1), lambda k: f"text {k + 1}", split, wrong)


def of_lines(source: str, encoding: str, split: str) -> Iterator[Block]:
    """A text a line; those that are here together, so that none waits for one that is still to come."""
    with Lines(source, encoding) as lines:
        while here := lines.here():
            first = lines.count - len(here) + 1

            def where(place: int, first: int = first) -> str:
                return f"line {first + place} of {lines.name}"

            texts = [line.rstrip("\r\n") for line in here]
            yield _texts(texts, range(first, lines.count + 1), where, split)


def of_table(options: Any, remembered: Table | None, split: str) -> Iterator[Block]:
    """A text a row."""
    text = options.text or (remembered.text if remembered else "text")
    likely = [remembered.delimiter] if remembered else []
    with Lines(options.data, options.encoding) as lines:
        table = tables.Table(lines, {"--text": text}, options.delimiter, likely)
        place, width, count = table.columns.index(text), len(table.columns), 0
        for fields, ends in table.blocks():
            rows = range(count + 1, count + len(fields) + 1)
            count += len(fields)

            def where(k: int, rows: range = rows, ends: Sequence[int] = ends) -> str:
                return f"row {rows[k]} of {table.name} (it ends in line {ends[k]})"

            texts = [row[place] if place < len(row) else "" for row in fields]
            long = [k for k, row in enumerate(fields) if len(row) > width]
            wrong = {k: str(table.excess(tables.Row(rows[k], ends[k], fields[k]))) for k in long}
            yield _texts(texts, rows, where, split, wrong)


def _texts(
    texts: list[str],
    rows: range,
    where: Callable[[int], str],
    split: str,
    wrong: dict[int, str] | None = None,
) -> Block:
    empty = {place: f"{where(place)} is empty" for place, text in enumerate(texts) if is_empty(text, split)}
    return Block("text", texts, texts, rows, where, empty | (wrong or {}))


# ---------------------------------------------------------------- whatever xlstm.read reads


def of_file(options: Any, model: Any, form: str) -> Iterator[Block]:
    """The sequences of a file, read as a whole."""
    fitted = model.fitted_state()
    table, texts = reading.told(options, fitted, form), reading.reads_texts(model)
    if form == "long" and options.data == STANDARD_INPUT:
        yield from _of_stream(options, model, table, texts)
        return
    found = reading.read_unlabelled(options, table, with_text=texts)
    for start in range(0, len(found.X), AT_ONCE):
        stop = min(start + AT_ONCE, len(found.X))
        part = found._replace(X=found.X[start:stop], ids=None if found.ids is None else found.ids[start:stop])
        yield _of_part(part, options.data, model, start)


def _of_part(found: Dataset, name: str, model: Any, before: int) -> Block:
    """Sequences of a file, of which so many stand before them."""
    rows, ids = range(before + 1, before + len(found.X) + 1), found.ids
    name = "standard input" if name == STANDARD_INPUT else name

    def where(k: int) -> str:
        return f"sequence {rows[k]} of {name}" if ids is None else f"the sequence {str(ids[k])!r} of {name}"

    key, names = ("sequence", list(map(str, rows))) if ids is None else ("id", list(map(str, ids)))
    wrong: dict[int, str] = {}
    if isinstance(found.X, Sequences):
        wrong = given.not_finite(found.X, where, model.missing)
    elif isinstance(found.X[0], str) and ids is None:
        key, names = "text", found.X
    return Block(key, found.X, names, rows, where, wrong)


_Groups = list[tuple[str, list[tables.Row]]]
"""The rows of some sequences, and their names."""


class _Rows(Delimited):
    """Some rows of a table as a table of their own."""

    def __init__(self, table: tables.Table, rows: list[tables.Row]) -> None:
        self.name, self.columns, self.delimiter = table.name, table.columns, table.delimiter
        self._rows = rows

    def _blocks(self, short: bool) -> Iterator[tuple[list[list[str]], Sequence[int]]]:
        yield [self._filled(row.fields, row.line, short) for row in self._rows], [row.line for row in self._rows]


def _of_stream(options: Any, model: Any, table: Table, with_text: bool) -> Iterator[Block]:
    """A long table, each of whose sequences is answered when the next one begins: their rows stand together."""
    count = 0
    seen: set[str] = set()
    with Lines(options.data, options.encoding) as lines:
        rows = tables.Table(lines, {"--id": table.id or ""}, options.delimiter, [table.delimiter])
        for whole in tables.together(_whole(rows, table.id or ""), lines.ready):
            for name in (group[0] for group in whole):
                if name in seen:
                    raise Failure(
                        f"the rows of the sequence {name!r} of {rows.name} do not stand together: sort them, or give "
                        "the table as a file"
                    )
                seen.add(name)
            yield from _of_groups(rows, whole, table, model, with_text, count)
            count += len(whole)


def _of_groups(
    rows: tables.Table, whole: _Groups, table: Table, model: Any, with_text: bool, before: int
) -> Iterator[Block]:
    """The sequences of some rows; where one cannot be read, the others can."""
    source = _Rows(rows, [row for _, group in whole for row in group])
    with reading.told_in_flags():
        reading.columns_of(source, table, with_text)  # what is wrong with these is wrong with every sequence
    try:
        with reading.told_in_flags(quiet=True):  # of a few rows nothing can be guessed
            found = reading.unlabelled(source, table, with_text)
    except Failure as failure:
        if len(whole) == 1:
            (name, _), why = whole[0], "; ".join(failure.lines)
            yield Block("id", [], [name], [before + 1], lambda _: f"the sequence {name!r} of {rows.name}", {0: why})
            return
        half = len(whole) // 2
        yield from _of_groups(rows, whole[:half], table, model, with_text, before)
        yield from _of_groups(rows, whole[half:], table, model, with_text, before + half)
        return
    yield _of_part(found, rows.name, model, before)


def _whole(table: tables.Table, column: str) -> Iterator[tuple[str, list[tables.Row]] | None]:
    """The rows of each sequence that has ended, and its name; None where another row has come and none has ended."""
    name = ""
    group: list[tables.Row] = []
    for row in table.rows():
        if row is None:
            continue
        own = bare(table.value(row, column))
        if group and own != name:
            yield name, group
            group = []
        else:
            yield None
        name = own
        group.append(row)
    if group:
        yield name, group
