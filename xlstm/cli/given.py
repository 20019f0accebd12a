"""Sequences from files, for training and measuring, whatever form they have: and what a file of some of them holds.

A table of texts is read row by row, with all that is wrong in it (`labelled.py`); everything else as a whole
(`reading.py`).
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import tables
from ..dataset import Dataset, Sequences
from ..fitted import Table
from ..lines import STANDARD_INPUT, Lines
from ..readers.grouping import bare
from ..tables import counted
from . import labelled
from .common import Failure
from .kinds import Kind, Where, by_default
from .reading import (
    LABEL,
    LINES,
    SEPARATOR,
    TEXT,
    ending,
    form_of,
    read,
    reads_texts,
    refuse_what_says_nothing,
    told,
    usual_delimiter,
)

ID, NUMBER, FILE = "id", "sequence", "file"
"""The columns of a list of sequences: of their ids, or of their numbers from 1 on, and of their files if several."""

LIST = ".held-out-ids.csv"
"""How a file of such a list ends."""


class Given(NamedTuple):
    """Sequences, their labels, and what the file says of them."""

    name: str  # of the source, for messages
    X: Any
    y: Any  # as the kind of answers has it
    kind: Kind
    what: str  # a sequence: "text" or "sequence"
    where: Where
    table: Table  # how it was read, for a model to remember
    skipped: int  # rows that were left out
    ids: list[str] | None  # of the sequences, where they have some
    suffix: str  # of a file that holds some of them
    content: Callable[[Sequence[int]], bytes]  # what such a file holds

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.X)


def chosen(values: Any, rows: Sequence[int]) -> Any:
    """Some of the sequences, or of their labels."""
    if isinstance(values, (Sequences, np.ndarray)):
        return values[np.asarray(rows, dtype=np.int64)]
    return [values[k] for k in rows]


def not_finite(X: Any, where: Where, missing: str) -> dict[int, str]:
    """Of the sequences that hold what is no number, by their places, what and where.

    `missing` is the estimator's setting: with "mask" gaps are read.
    """
    if not isinstance(X, Sequences):
        return {}
    wrong = np.isinf(X.values) if missing == "mask" else ~np.isfinite(X.values)
    if not wrong.any():
        return {}
    starts = np.cumsum(X.lengths) - X.lengths
    found: dict[int, str] = {}
    for k in np.flatnonzero(np.logical_or.reduceat(wrong.any(axis=1), starts)).tolist():
        step, feature = np.argwhere(wrong[starts[k] : starts[k] + X.lengths[k]])[0].tolist()
        what = "no value" if np.isnan(X.values[starts[k] + step, feature]) else "infinity"
        of = f", feature {X.names[feature]!r}" if X.names is not None else ""
        found[k] = f"{where(k)} has {what} in step {step + 1}{of}"
    return found


def first_names(kind: Kind) -> Given:
    """The embedded data."""
    return _of_rows(labelled.first_names(), kind, "characters", SEPARATOR)


def for_training(options: Any, kind: Kind | None, split: str) -> Given:
    """What a model is to be trained on.

    Raises
    ------
    Failure
        With all that is wrong; where the labels are not of the kind, or, where none was named, of another than classes.
    """
    separator = options.separator or SEPARATOR
    form = form_of(options, options.data)
    refuse_what_says_nothing(options, form)
    if form == "text":
        rows = labelled.read(options, split, kind)
        return _of_rows(rows, kind or by_default(rows.labels, rows.name), split, separator)
    table = table_of(options, form)
    found, table = read(
        options,
        table,
        with_text=options.text is not None,
        each_step=kind is not None and kind.name == "steps",
        several=kind is not None and kind.empty,
    )
    return _of_dataset(found, options, table, kind)


def table_of(options: Any, form: str) -> Table:
    """How files in this form are read, as the flags of `train` say."""
    return Table(
        options.text or TEXT,
        options.label or LABEL,
        options.delimiter or usual_delimiter(options.data),
        None,
        form=form,
        id=options.id,
        time=options.time,
        delta=options.delta,
        features=options.features,
        separator=options.separator or SEPARATOR,
        channels_first=options.channels_first,
    )


def for_measuring(options: Any, model: Any, kind: Kind) -> Given:
    """What a model is to be measured on.

    Raises
    ------
    Failure
        With all that is wrong; where a label is none that the model knows.
    """
    fitted = model.fitted_state()
    remembered, texts = fitted.table, reads_texts(model)
    form = form_of(options, options.data, remembered, numbers=not texts)
    refuse_what_says_nothing(options, form, numbers=not texts)
    if form == "text":
        rows = labelled.read(options, fitted.encoder.kind, kind, remembered, kind.known(model))
        found = _of_rows(rows, kind, fitted.encoder.kind, _separator(remembered))
    else:
        table = told(options, fitted, form)
        data, _ = read(options, table, with_text=texts, each_step=kind.name == "steps", several=kind.empty)
        found = _of_dataset(data, options, table, kind)
        kind.check_known(found.y, model, found.where)
    return found


def _of_rows(rows: labelled.Labelled, kind: Kind, split: str, separator: str) -> Given:
    """A table of texts."""

    def content(some: Sequence[int]) -> bytes:
        return tables.content([rows.columns, *(rows.rows[k] for k in some)], rows.delimiter)

    return Given(
        rows.name,
        rows.texts,
        kind.of_fields(rows.labels, split, separator),
        kind,
        "text",
        lambda k: f"row {k + 1} of {rows.name}",
        Table(rows.text, rows.label, rows.delimiter, None, separator=separator if kind.name == "labels" else None),
        rows.skipped,
        None,
        ".held-out.tsv" if rows.delimiter == "\t" else ".held-out.csv",
        content,
    )


def _of_dataset(found: Dataset, options: Any, table: Table, kind: Kind | None) -> Given:
    data, ids = options.data, found.ids
    name = "standard input" if data == STANDARD_INPUT else data
    if found.y is None:
        raise Failure(f"{name} has no labels: name their column by --label")
    kind = kind or by_default(found.y, name)

    def where(k: int) -> str:
        return f"the sequence {str(ids[k])!r} of {name}" if ids is not None else f"sequence {k + 1} of {name}"

    if len(found.y) != len(found.X):
        raise Failure(f"{name} has {counted(len(found.X), 'sequence')}, but labels of {len(found.y)}")
    separator = table.separator or SEPARATOR
    y = kind.of_data(found.y, separator, where)
    names = None if ids is None else list(map(str, ids))
    suffix, content = _some_of(options, table, names)
    what = "text" if isinstance(found.X, list) and found.X and isinstance(found.X[0], str) else "sequence"
    table = table._replace(separator=separator if kind.name == "labels" else None)
    return Given(name, found.X, y, kind, what, where, table, 0, names, suffix, content)


def _some_of(options: Any, table: Table, ids: list[str] | None) -> tuple[str, Callable[[Sequence[int]], bytes]]:
    """The suffix and the content of a file that holds some of the sequences; where there is none, of a list of them."""
    data = options.data
    again = data != STANDARD_INPUT and os.path.isfile(data)  # a pipe can be read once
    if again and table.form in ("long", "wide"):
        suffix = ".held-out.tsv" if table.delimiter == "\t" else ".held-out.csv"
        return suffix, lambda some: _rows_of(options, table, set(some))
    if again and ending(data) in LINES and table.id is None:
        return f".held-out{ending(data)}", lambda some: _lines_of(options, set(some))
    if ids is None or len(set(ids)) < len(ids):
        return LIST, lambda some: tables.content([[NUMBER], *([str(k + 1)] for k in some)], ",")
    return LIST, lambda some: tables.content([[ID], *([ids[k]] for k in some)], ",")


def _rows_of(options: Any, table: Table, some: set[int]) -> bytes:
    """The header, and the rows of these sequences, as they stand there."""
    with Lines(options.data, options.encoding) as lines:
        rows = tables.Table(lines, {}, table.delimiter)
        place = None if table.id is None or table.form != "long" else rows.columns.index(table.id)
        seen: dict[str, int] = {}  # sequences are numbered in the order of their first rows

        def of_some() -> Iterator[list[str]]:
            number = 0
            for row in rows.rows():
                if row is not None:
                    k = number if place is None else seen.setdefault(bare(row.fields[place]), len(seen))
                    number += 1
                    if k in some:
                        yield row.fields

        return tables.content([rows.columns, *of_some()], table.delimiter)


def _lines_of(options: Any, some: set[int]) -> bytes:
    written, number = io.StringIO(), 0
    with Lines(options.data, options.encoding) as lines:
        for line in lines:
            if line.strip():
                written.write(line.rstrip("\r\n") + "\n" if number in some else "")
                number += 1
    return written.getvalue().encode()


def only(given: Given, path: str, encoding: str) -> Given:
    """Of the sequences those that a file lists by their ids, or by their numbers, as `train` writes it.

    Raises
    ------
    Failure
        If one of them is not there; if it lists ids, but two sequences have one.
    """
    with Lines(path, encoding) as lines:
        table = tables.Table(lines, {})
        column = next((name for name in (ID, NUMBER) if name in table.columns), None)
        if column is None:
            raise Failure(
                f"{path} has no column {ID!r} of the ids of sequences, nor a column {NUMBER!r} of their numbers from 1 "
                f"on: it has {', '.join(table.columns):.60}. If it holds sequences of its own, it is the file to "
                "evaluate on, without --only"
            )
        listed = [row for row in table.rows() if row is not None]
        if FILE in table.columns:
            listed = [row for row in listed if table.value(row, FILE) == given.name]
        # A sequence counts once, however often it is listed: a held-out table of steps has its id at each of them.
        wanted = list(dict.fromkeys(table.value(row, column) for row in listed))
    numbers = column == NUMBER or given.ids is None
    names = [str(k + 1) for k in range(given.size)] if numbers else given.ids or []
    several = Counter(names)
    places = {name: k for k, name in enumerate(names)}
    rows = []
    for name in wanted:
        if name not in places:
            raise Failure(f"{path} lists {name!r}, which {given.name} does not have")
        if several[name] > 1:
            raise Failure(
                f"{path} lists {name!r}, but {given.name} has {several[name]} sequences of this id: list their numbers "
                f"from 1 on, in a column {NUMBER!r}"
            )
        rows.append(places[name])
    if not rows:
        raise Failure(f"{path} lists no sequence{f' of {given.name}' if FILE in table.columns else ''}")
    ids = None if given.ids is None else chosen(given.ids, rows)
    return given._replace(
        X=chosen(given.X, rows), y=chosen(given.y, rows), where=lambda k: given.where(rows[k]), ids=ids
    )


def _separator(remembered: Table | None) -> str:
    return SEPARATOR if remembered is None or remembered.separator is None else remembered.separator
