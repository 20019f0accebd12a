"""Files as batches that can be read again and again: tables some rows at a time, other formats a file at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..dataset import Dataset
from ..sources import BUFFER, Batches
from . import forms, jsonlines, read, refuse_what_has_no_meaning
from .columns import Asked, listed, roles
from .delimited import Delimited
from .kinds import format_of

ROWS = 4096
"""The rows of a table that are read together where nobody says how many."""

Path = Any  # str or os.PathLike


def from_files(
    paths: Path | Iterable[Path],
    *,
    block: int = ROWS,
    buffer: int = BUFFER,
    sample: Any = None,
    rows: int | None = None,
    format: str | None = None,
    id: str | None = None,
    time: str | None = None,
    features: Any = None,
    label: str | None = None,
    text: str | None = None,
    delta: str | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    label_each_step: bool = False,
    sort: bool = True,
    channels_first: bool = False,
) -> Batches:
    """The sequences of files as batches, for more than memory holds: `clf.fit(xlstm.from_files(paths, label="kind"))`.

    Each pass reads the files anew, one after another, in the order given. CSV, TSV and JSON lines, packed by gzip too,
    are read some rows at a time. Of other formats a whole file is read at a time: cut large data into several.

    Parameters
    ----------
    paths : path or list of paths
        The files. All have the same columns, in whatever order.
    block : int
        The rows of a table that are read together.
    buffer, sample, rows
        See `Batches`.
    format, id, time, features, label, text, delta, delimiter, encoding, label_each_step, sort, channels_first
        See `xlstm.read`. In long form, with `id`, the rows of an id stand one after another in one file: an id that
        comes back is an error. The labels of all files are numbers, or text, as those of the first block are.

    Returns
    -------
    Batches
        Of (X, y); where no label is found y is None, which is enough to predict.

    Raises
    ------
    ValueError, OSError
        While they are read, as `xlstm.read` of each; if columns differ from those of the first file, or an id comes
        back: the file is named, and the line.
    """
    names = [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    if not names:
        raise ValueError("no files are given: pass a path, or a list of paths.")
    if block < 1:
        raise ValueError(f"block must be a number of rows, 1 or more, got {block!r}.")
    asked = Asked(id, time, features, label, text, delta, label_each_step, sort)
    options = {"format": format, "delimiter": delimiter, "encoding": encoding, "channels_first": channels_first}
    return Batches(Files(names, asked, options, block), buffer=buffer, sample=sample, rows=rows)


class Files:
    """The batches of `from_files`."""

    def __init__(self, names: list[str], asked: Asked, options: dict[str, Any], block: int) -> None:
        self._names, self._asked, self._options, self._block = names, asked, options, block

    def __repr__(self) -> str:
        more = f" and {len(self._names) - 1} more" if len(self._names) > 1 else ""
        return f"<files {self._names[0]}{more}>"

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        seen: set[int] = set()  # of the ids, a number of 8 bytes each
        first: tuple[str, set[str]] | None = None  # a file, and the names of its features
        numeric: bool | None = None  # whether the labels are numbers
        for name in self._names:
            kind = format_of(name, self._options["format"])
            if kind in ("csv", "tsv"):
                first = self._like(name, kind, first)
            for where, dataset in self._datasets(name, kind):
                if kind in ("csv", "tsv", "jsonl"):
                    _check_new(dataset.ids, seen, name, self._asked.id)
                y = dataset.y
                if isinstance(y, np.ndarray) and y.ndim == 1:
                    numeric = y.dtype.kind != "U" if numeric is None else numeric
                    y = _of_kind(y, numeric, where)
                yield dataset.X, y

    def _datasets(self, name: str, kind: str) -> Iterator[tuple[str, Dataset]]:
        """The parts of a file, and how messages call each."""
        asked, options = self._asked, self._options
        if kind not in ("csv", "tsv", "jsonl"):
            yield name, read(name, **asked._asdict(), **options)
            return
        refuse_what_has_no_meaning(kind, asked, options["delimiter"], options["channels_first"])
        if kind == "jsonl":
            for dataset in jsonlines.parts(name, options["encoding"], asked, self._block):
                yield name, dataset
            return
        empty = True
        with self._opened(name, kind) as table:
            for part in table.parts(self._block, asked.id):
                empty = False
                yield f"{name}, {part.span}", forms.read(part, asked)
        if empty:
            raise ValueError(f"{name} has a header but no rows.")

    def _like(self, name: str, kind: str, first: tuple[str, set[str]] | None) -> tuple[str, set[str]]:
        """The first table, and its features; ValueError where another has others."""
        with self._opened(name, kind) as table:
            features = set(roles(table, self._asked).features)
        if first is not None and features != first[1]:
            raise ValueError(_other_columns(name, features, *first))
        return first or (name, features)

    def _opened(self, name: str, kind: str) -> Delimited:
        delimiter = self._options["delimiter"] or ("\t" if kind == "tsv" else None)
        return Delimited(name, delimiter, self._options["encoding"])


def _other_columns(name: str, features: set[str], first: str, expected: set[str]) -> str:
    lacks, more = sorted(expected - features), sorted(features - expected)
    parts = [f"lacks the columns {listed(lacks)}"] if lacks else []
    parts += [f"has the columns {listed(more)} too many"] if more else []
    return f"{name} {' and '.join(parts)}, beside {first}: all files need the same."


def _check_new(ids: list[Any] | None, seen: set[int], name: str, column: str | None) -> None:
    """Raise where an id was in an earlier block; remember those of this one."""
    for each in ids or ():
        number = hash(str(each))
        if number in seen:
            raise ValueError(
                f"the id {each!r} in the column {column!r} of {name} comes back after other ids: its rows have to "
                "stand one after another in one file. Sort the table by its ids, or read it whole by xlstm.read."
            )
        seen.add(number)


def _of_kind(y: Any, numeric: bool, where: str) -> Any:
    """Labels of a block as those of the first: text that happens to be whole numbers stays text.

    Raises
    ------
    ValueError
        If they are text and those were numbers, or numbers with fractions and those were text.
    """
    if (y.dtype.kind != "U") is numeric:
        return y
    if not numeric and y.dtype.kind == "i":
        return y.astype(str)
    kinds = ("text, such as {!r}", "numbers") if numeric else ("numbers, such as {!r}", "text")
    raise ValueError(
        f"{where}: the labels are {kinds[0].format(y.tolist()[0])}, those before were {kinds[1]}: make all of one kind."
    )
