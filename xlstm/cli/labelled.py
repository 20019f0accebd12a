"""Labelled texts, from a table or from the package: what train and evaluate read, and what they say of bad rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import data, tables
from ..fitted import Table
from .common import Failure, is_empty, listed

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
    labels: list[str]
    skipped: int  # rows without a text or a label, left out


def first_names() -> Labelled:
    """The embedded data, as a table of two columns."""
    texts, labels = data.first_names()
    rows = [list(row) for row in zip(texts, labels, strict=True)]
    return Labelled("the first names", ["text", "label"], ",", "text", "label", rows, texts, labels, 0)


def read(options: Any, split: str, remembered: Table | None = None, known: Collection[str] | None = None) -> Labelled:
    """The rows of a table.

    Parameters
    ----------
    options
        The arguments `data`, `text`, `label`, `delimiter`, `encoding` and `skip_empty` of the command.
    split
        What a token is, and with that which texts have none: "characters" or "words".
    remembered
        What the model knows of the table that it was trained on: the columns where none are named.
    known
        The labels that may occur; None: all.

    Raises
    ------
    Failure
        With all bad rows.
    ValueError, OSError
        If it is no table, or cannot be read.
    """
    text = options.text or (remembered.text if remembered else "text")
    label = options.label or (remembered.label if remembered else "label")
    likely = [remembered.delimiter] if remembered else []
    problems: list[str] = []
    rows: list[tables.Row] = []
    empty = skipped = 0
    with tables.Lines(options.data, options.encoding) as lines:
        table = tables.Table(lines, {"--text": text, "--label": label}, options.delimiter, likely)
        for row in table.rows():
            if row is None:
                continue
            lacking = [
                column
                for column, lacks in (
                    (text, is_empty(table.value(row, text), split)),
                    (label, not table.value(row, label).strip()),
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
                fields = f": it has {len(row.fields)} fields, the header {len(table.columns)}" if short else ""
                problems.append(f"{table.where(row)} has an empty {' and '.join(map(repr, lacking))}{fields}")
            elif known is not None and table.value(row, label) not in known:
                problems.append(
                    f"{table.where(row)} has the label {table.value(row, label)!r}, which the model does not know: "
                    f"{', '.join([*known][:SHOWN_LABELS])}{', ...' if len(known) > SHOWN_LABELS else ''}"
                )
            else:
                rows.append(row)
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
        [table.value(row, label) for row in rows],
        skipped,
    )


def told_of(skipped: int, options: Any) -> str:
    """The line of the result that counts the rows left out; nothing where none were to be."""
    return f"skipped {skipped} rows without a text or a label\n" if options.skip_empty else ""


def scores(truth: Sequence[str], predicted: Iterable[Any]) -> dict[str, Any]:
    """Accuracy, its mean over the classes (balanced accuracy), and the part of each class that is right."""
    right = np.array([str(a) == str(b) for a, b in zip(truth, predicted, strict=True)])
    labels = np.array(truth)
    recall = {str(label): float(right[labels == label].mean()) for label in np.unique(labels)}
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(list(recall.values()))),
        "recall": recall,
    }
