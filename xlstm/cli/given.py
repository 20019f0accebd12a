"""Sequences from files, for training and measuring, whatever form they have: the one place that knows the forms.

A table of texts is read row by row, with all that is wrong in it (`labelled.py`); everything else by `xlstm.read`.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import readers, tables
from ..dataset import Dataset, Sequences
from ..encode import TokenEncoder
from ..fitted import Table
from ..readers import columns, forms
from ..readers.delimited import Delimited
from ..readers.kinds import ENDINGS
from ..tables import counted
from . import labelled
from .common import Failure, tell
from .kinds import Kind, Where, by_default

NOT_TABLES = tuple(suffix for suffix, kind in ENDINGS.items() if kind not in ("csv", "tsv"))
LINES = tuple(suffix for suffix, kind in ENDINGS.items() if kind == "jsonl")
"""Of them, those in which a line is a sequence, or with an id a step."""
TEXT, LABEL = "text", "label"
"""The columns where none are named."""
SEPARATOR = ";"


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
    suffix: str  # of a file that holds some of them
    content: Callable[[Sequence[int]], bytes]  # what such a file holds

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.X)


def chosen(values: Any, rows: Sequence[int]) -> Any:
    """Some of the sequences, or of their labels."""
    if isinstance(values, (Sequences, np.ndarray)):
        return values[np.asarray(rows, dtype=np.int64)]
    return [values[k] for k in rows]


def ending(path: str) -> str:
    """What a file's name ends in, without what says that it is packed."""
    return Path(path.removesuffix(".gz")).suffix.lower()


def not_finite(X: Any, where: Where, missing: str) -> dict[int, str]:
    """Of the sequences that hold what is no number, by their places, what and where.

    `missing` is the estimator's setting: with "mask" gaps are read.
    """
    if not isinstance(X, Sequences):
        return {}
    wrong = np.isinf(X.values) if missing == "mask" else ~np.isfinite(X.values)
    if not wrong.any():
        return {}
    starts, found = np.cumsum(X.lengths) - X.lengths, {}
    for k in np.flatnonzero(np.logical_or.reduceat(wrong.any(axis=1), starts)).tolist():
        step, feature = np.argwhere(wrong[starts[k] : starts[k] + X.lengths[k]])[0].tolist()
        what = "no value" if np.isnan(X.values[starts[k] + step, feature]) else "infinity"
        of = f", feature {X.names[feature]!r}" if X.names is not None else ""
        found[k] = f"{where(k)} has {what} in step {step + 1}{of}"
    return found


def form_of(options: Any, data: str, remembered: Table | None = None, numbers: bool = False) -> str:
    """In which form a source is: "text" (a table of them), "long", "wide" or "file" (neither).

    Parameters
    ----------
    remembered
        What the model knows of the table that it was trained on.
    numbers
        Whether the model reads numbers, so that it is no table of texts.

    Raises
    ------
    Failure
        If it is a table of numbers, of which nobody has said how it holds them.
    """
    if ending(data) in NOT_TABLES:
        return "file"
    if options.id is not None:
        return "long"
    if options.wide:
        return "wide"
    form = "text" if remembered is None else remembered.form
    if form in ("long", "wide"):
        return form
    if numbers:
        raise Failure(
            f"this model reads numbers, not texts: say how {data} holds them, --id COLUMN where a row is a step of a "
            "sequence, --wide where it is a series"
        )
    return "text"


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
    if form == "text":
        rows = labelled.read(options, split, kind)
        return _of_rows(rows, kind or by_default(rows.labels, rows.name), split, separator)
    table = Table(
        options.text or TEXT,
        options.label or LABEL,
        options.delimiter or _usual_delimiter(options.data),
        None,
        form=form,
        id=options.id,
        time=options.time,
        delta=options.delta,
        features=options.features,
        separator=separator,
        channels_first=options.channels_first,
    )
    found = read(
        options, table, with_text=options.text is not None, each_step=kind is not None and kind.name == "steps"
    )
    return _of_dataset(found, options, table, kind)


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
    if form == "text":
        known = None if kind.name == "number" else [str(label) for label in model.classes_.tolist()]
        rows = labelled.read(options, fitted.encoder.kind, kind, remembered, known)
        found = _of_rows(rows, kind, fitted.encoder.kind, _separator(remembered))
    else:
        table = told(options, remembered, form)
        data = read(options, table, with_text=texts, each_step=kind.name == "steps")
        found = _of_dataset(data, options, table, kind)
        kind.check_known(found.y, model, found.where)
    return found


def reads_texts(model: Any) -> bool:
    """Whether what a model reads are texts or lists of words."""
    encoder = model.fitted_state().encoder
    return isinstance(encoder, TokenEncoder) and encoder.kind != "integers"


def told(options: Any, remembered: Table | None, form: str) -> Table:
    """How a file is to be read: as said, else as the one that the model was trained on."""
    before = Table(TEXT, LABEL, _usual_delimiter(options.data), None, form=form)
    if remembered is not None and remembered.form == form:
        before = remembered
    own = {name: getattr(options, name, None) for name in ("text", "label", "delimiter", "id", "time")}
    return before._replace(**{name: value for name, value in own.items() if value is not None})


def read(options: Any, table: Table, *, with_text: bool, each_step: bool) -> Dataset:
    """A file that is no table of texts.

    Parameters
    ----------
    with_text
        Whether it holds texts or words.
    each_step
        Whether each step has a label.

    Raises
    ------
    Failure
        If it is a folder, or nothing can be read of it.
    """
    rows = table.form in ("long", "wide")
    arguments: dict[str, Any] = {
        "id": table.id,
        "time": table.time,
        "delta": table.delta,
        "features": table.features,
        "label": table.label if rows or table.label != LABEL else None,
        "text": table.text if with_text and (rows or table.text != TEXT) else None,
    }
    if rows:
        arguments |= {"format": "csv", "delimiter": table.delimiter}
    return _read(
        options, **arguments, label_each_step=each_step and table.id is not None, channels_first=table.channels_first
    )


def _read(options: Any, **arguments: Any) -> Dataset:
    with told_in_flags():
        return readers.read(options.data, encoding=options.encoding, **arguments)


def read_unlabelled(options: Any, table: Table, *, with_text: bool) -> Dataset:
    """The same without labels, which may be there, and may be anything.

    Raises
    ------
    Failure
        If nothing can be read of it.
    """
    if table.form != "file":
        with told_in_flags(), Delimited(options.data, table.delimiter, options.encoding) as source:
            return unlabelled(source, table, with_text)
    if table.label != LABEL:
        try:  # so that it is no feature
            return read(options, table, with_text=with_text, each_step=True)
        except Failure:  # it is not there, or not for all
            pass
    return read(options, table._replace(label=LABEL), with_text=with_text, each_step=True)


def unlabelled(source: Delimited, table: Table, with_text: bool) -> Dataset:
    """The sequences of a table of numbers. A column of labels is no feature, whatever is in it."""
    label = table.label if table.label in source.columns else None
    text = table.text if with_text else None
    if table.form == "wide":
        asked = columns.Asked(features=table.features, label=label)
        return forms.wide(source, columns.roles(source, asked)._replace(label=None))
    asked = columns.Asked(table.id, table.time, table.features, label, text, table.delta)
    return forms.long(source, asked, columns.roles(source, asked)._replace(label=None))


@contextlib.contextmanager
def told_in_flags(quiet: bool = False) -> Iterator[None]:
    """Inside, errors become Failures, and these and warnings name flags in place of arguments.

    `quiet` tells no warnings.
    """
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always", UserWarning)
            yield
    except (ValueError, TypeError) as error:
        raise Failure(in_flags(str(error))) from None
    for warning in () if quiet else noted:
        tell("warning", in_flags(str(warning.message)))


_FLAGS = "id|time|features|label|text|delta|delimiter|encoding"


def in_flags(message: str) -> str:
    """A message that names arguments of Python, with the flags that stand for them."""
    message = message.replace("label_each_step=True", "--task steps").replace("channels_first=True", "--channels-first")
    message = re.sub(rf"\b({_FLAGS})=(?=['\w])", r"--\1 ", message)
    return re.sub(rf"\b({_FLAGS})=", r"--\1", message)


# ---------------------------------------------------------------- one form of them


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
        ".held-out.tsv" if rows.delimiter == "\t" else ".held-out.csv",
        content,
    )


def _of_dataset(found: Dataset, options: Any, table: Table, kind: Kind | None) -> Given:
    data, ids = options.data, found.ids
    name = "standard input" if data == tables.STANDARD_INPUT else data
    if found.y is None:
        raise Failure(f"{name} has no labels: name their column by --label")
    kind = kind or by_default(found.y, name)

    def where(k: int) -> str:
        return f"the sequence {str(ids[k])!r} of {name}" if ids is not None else f"sequence {k + 1} of {name}"

    if len(found.y) != len(found.X):
        raise Failure(f"{name} has {counted(len(found.X), 'sequence')}, but labels of {len(found.y)}")
    separator = table.separator or SEPARATOR
    y = kind.of_data(found.y, separator, where)
    suffix, content = _some_of(options, table, ids, len(found.X))
    what = "text" if isinstance(found.X, list) and found.X and isinstance(found.X[0], str) else "sequence"
    table = table._replace(separator=separator if kind.name == "labels" else None)
    return Given(name, found.X, y, kind, what, where, table, 0, suffix, content)


def _some_of(options: Any, table: Table, ids: list[Any] | None, n: int) -> tuple[str, Callable[[Sequence[int]], bytes]]:
    """The suffix and the content of a file that holds some of the sequences; where there is none, their ids."""
    data = options.data
    if data != tables.STANDARD_INPUT and table.form in ("long", "wide"):
        suffix = ".held-out.tsv" if table.delimiter == "\t" else ".held-out.csv"
        return suffix, lambda some: _rows_of(options, table, set(some))
    if data != tables.STANDARD_INPUT and ending(data) in LINES and table.id is None:
        return f".held-out{ending(data)}", lambda some: _lines_of(options, set(some))
    names = list(range(1, n + 1)) if ids is None else ids
    return ".held-out-ids.csv", lambda some: tables.content([["id"], *([str(names[k])] for k in some)], ",")


def _rows_of(options: Any, table: Table, some: set[int]) -> bytes:
    """The header, and the rows of these sequences, as they stand there."""
    with tables.Lines(options.data, options.encoding) as lines:
        rows = tables.Table(lines, {}, table.delimiter)
        place = None if table.id is None or table.form != "long" else rows.columns.index(table.id)
        seen: dict[str, int] = {}  # sequences are numbered in the order of their first rows

        def of_some() -> Iterator[list[str]]:
            number = 0
            for row in rows.rows():
                if row is not None:
                    k = number if place is None else seen.setdefault(row.fields[place], len(seen))
                    number += 1
                    if k in some:
                        yield row.fields

        return tables.content([rows.columns, *of_some()], table.delimiter)


def _lines_of(options: Any, some: set[int]) -> bytes:
    written, number = io.StringIO(), 0
    with tables.Lines(options.data, options.encoding) as lines:
        for line in lines:
            if line.strip():
                written.write(line.rstrip("\r\n") + "\n" if number in some else "")
                number += 1
    return written.getvalue().encode()


def only(given: Given, path: str, encoding: str) -> Given:
    """Of the sequences those whose ids a file lists, as `train` writes it.

    Raises
    ------
    Failure
        If one of them is not there.
    """
    with tables.Lines(path, encoding) as lines:
        table = tables.Table(lines, {"--only": "id"})
        wanted = [table.value(row, "id") for row in table.rows() if row is not None]
    places = {given.where(k): k for k in range(given.count)}
    numbered = f"sequence 1 of {given.name}" in places
    rows = []
    for name in wanted:
        where = f"sequence {name} of {given.name}" if numbered else f"the sequence {name!r} of {given.name}"
        if where not in places:
            raise Failure(f"{path} lists {name!r}, which {given.name} does not have")
        rows.append(places[where])
    if not rows:
        raise Failure(f"{path} lists no sequence")
    return given._replace(X=chosen(given.X, rows), y=chosen(given.y, rows))


def _usual_delimiter(data: str) -> str:
    return "\t" if ending(data) in (".tsv", ".tab") else ","


def _separator(remembered: Table | None) -> str:
    return SEPARATOR if remembered is None or remembered.separator is None else remembered.separator
