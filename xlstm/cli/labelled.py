"""Labelled texts, from a table or from the package: what train and evaluate read, and what they say of bad rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from .. import data, tables
from ..fitted import Table
from ..lines import Lines
from ..readers.fields import is_missing
from ..readers.kinds import TAGGED
from ..tables import counted
from .common import Failure, is_empty, listed
from .kinds import KINDS, Kind

SHOWN_LABELS = 10


class Labelled(NamedTuple):
    """Rows with a text and a label, in their order."""

    name: str  # of the source, for messages
    columns: list[str]
    delimiter: str
    text: str  # the name of the column
    label: str
    rows: list[list[str]]  # all fields, as they stand there
    texts: list[str]
    labels: list[str]  # without the white space around them, which the rows keep
    skipped: int  # rows without a text or a label, left out


def first_names() -> Labelled:
    """The embedded data, as a table of two columns."""
    texts, labels = data.first_names()
    rows = [list(row) for row in zip(texts, labels, strict=True)]
    return Labelled("the first names", ["text", "label"], ",", "text", "label", rows, texts, labels, 0)


def read(
    options: Any,
    split: str,
    kind: Kind | None = None,
    remembered: Table | None = None,
    known: Collection[str] | None = None,
) -> Labelled:
    """The rows of a table.

    Parameters
    ----------
    options
        The arguments `data`, `text`, `label`, `delimiter`, `encoding` and `skip_empty` of the command.
    split
        What a token is, and with that which texts have none: "characters" or "words".
    kind
        Of the answers; None is that of one class for each text.
    remembered
        What the model knows of the table that it was trained on: the columns where none are named.
    known
        The labels that may occur; None: all.

    Raises
    ------
    Failure
        With all bad rows; where texts and labels are of one column.
    ValueError, OSError
        If it is no table, or cannot be read.
    """
    kind = kind or KINDS["classes"]
    separator = (remembered and remembered.separator) or getattr(options, "separator", None) or ";"
    text = options.text or (remembered.text if remembered else "text")
    label = options.label or (remembered.label if remembered else "label")
    if text == label:
        raise Failure(f"the texts and the labels cannot both be the column {text!r}: name two by --text and --label")
    likely = [remembered.delimiter] if remembered else []
    problems: list[str] = []
    rows: list[tables.Row] = []
    labels: list[str] = []
    empty = skipped = 0
    with Lines(options.data, options.encoding) as lines:
        try:
            table = tables.Table(lines, {"--text": text, "--label": label}, options.delimiter, likely)
        except ValueError as error:
            if options.text is not None or remembered is not None or "Name the column by --text" not in str(error):
                raise
            tagged = f". {TAGGED}" if kind.name == "steps" else ""
            raise Failure(
                f"{error}. In a table of numbers a row is a step: --id COLUMN, or a series: --wide{tagged}"
            ) from None
        for row in table.rows():
            if row is None:
                continue
            named = _label(table.value(row, label), known)
            lacking = [
                column
                for column, lacks in (
                    (text, is_empty(table.value(row, text), split)),
                    (label, not named.strip() and not kind.empty),
                )
                if lacks
            ]
            if (problem := table.excess(row)) is not None:
                problems.append(problem)
            elif lacking and options.skip_empty:
                skipped += 1
            elif lacking:
                empty += 1
                short = len(row.fields) < len(table.columns)
                fields = (
                    f": it has {counted(len(row.fields), 'field')}, the header {len(table.columns)}" if short else ""
                )
                problems.append(f"{table.where(row)} has an empty {' and '.join(map(repr, lacking))}{fields}")
            elif (wrong := kind.wrong(named, table.value(row, text), split)) is not None:
                problems.append(f"{table.where(row)} {wrong}")
            elif (strange := _unknown(kind, named, split, separator, known)) is not None:
                names = [*known] if known is not None else []
                shown = ", ".join(names[:SHOWN_LABELS]) + (", ..." if len(names) > SHOWN_LABELS else "")
                problems.append(f"{table.where(row)} has the label {strange!r}, which the model does not know: {shown}")
            else:
                rows.append(row)
                labels.append(named)
    if problems:
        raise listed(problems, "--skip-empty leaves rows without a text or a label out" if empty else "")
    if not rows:
        left_out = f"; {skipped} without a text or a label were skipped" if skipped else ""
        raise Failure(f"{table.name} has a header but no rows{left_out}")
    return Labelled(
        table.name,
        table.columns,
        table.delimiter,
        text,
        label,
        [row.fields for row in rows],
        [table.value(row, text) for row in rows],
        labels,
        skipped,
    )


def _unknown(kind: Kind, label: str, split: str, separator: str, known: Collection[str] | None) -> str | None:
    """The first class in a label that is none of those known."""
    if known is None:
        return None
    classes = kind.classes_in(kind.of_fields([label], split, separator)[0])
    return next((one for one in classes if one not in known), None)


def _label(field: str, known: Collection[str] | None) -> str:
    """What a field names; white space around it counts only for models that have it in a class."""
    return field if known is not None and field in known else field.strip()


def like_missing(labels: Sequence[str]) -> str | None:
    """The warning that labels seem to say that there is none; None where none does."""
    rows = Counter(label for label in labels if is_missing(label))
    if not rows:
        return None
    names = " or ".join(map(repr, sorted(rows)))
    return (
        f"{counted(rows.total(), 'row')} with the label {names}, which often stands for a missing one: trained on as "
        f"{'a class' if len(rows) == 1 else 'classes'} like any other. Empty the field and say --skip-empty if none is "
        "meant"
    )


def told_of(skipped: int, options: Any) -> str:
    """The line of the result that counts the rows left out; nothing where none were to be."""
    return f"skipped {counted(skipped, 'row')} without a text or a label\n" if options.skip_empty else ""
