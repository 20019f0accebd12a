"""Files as batches that can be read again and again: tables some rows at a time, other formats a file at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..dataset import Dataset
from ..host import HostArray
from ..lines import STANDARD_INPUT
from ..sources import BUFFER, Batches
from . import forms, jsonlines, read_as, refuse_what_has_no_meaning
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
    separator: str | None = None,
    channels_first: bool = False,
) -> Batches:
    """The sequences of files as batches, for more than memory holds: `clf.fit(xlstm.from_files(paths, label="kind"))`.

    Each pass reads the files anew, one after another, in the order given. CSV, TSV and JSON lines, packed by gzip too,
    are read some rows at a time. Of other formats a whole file is read at a time: cut large data into several.

    Parameters
    ----------
    paths : path or list of paths
        The files. All have the same columns, in whatever order; in wide form the steps in the same order.
    block : int
        The rows of a table that are read together.
    buffer, sample, rows
        See `Batches`.
    format, id, time, features, label, text, delta, delimiter, encoding, label_each_step, sort, separator,
    channels_first
        See `xlstm.read`. In long form, with `id`, the rows of an id stand one after another in one file: an id that
        comes back is an error. The labels of all files are numbers, or text, as those of the first block are.

    Returns
    -------
    Batches
        Of (X, y); where no label is found y is None, which is enough to predict. Each has two attributes beside:
        `file`, from which it comes, and `ids`, what that calls its sequences, None where they have no names.

    Raises
    ------
    ValueError, OSError
        While they are read, as `xlstm.read` of each; if columns differ from those of the first file, or an id comes
        back: the file is named, and the line.
    """
    names = [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    if not names:
        raise ValueError("no files are given: pass a path, or a list of paths.")
    for name in names:
        if name == STANDARD_INPUT or (os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name)):
            what = "standard input" if name == STANDARD_INPUT else f"{name} is a pipe, which"
            raise ValueError(
                f"{what} can be read once, and every pass reads the files anew: write what it gives to a file."
            )
    if block < 1:
        raise ValueError(f"block must be a number of rows, 1 or more, got {block!r}.")
    asked = Asked(id, time, features, label, text, delta, label_each_step, sort, separator)
    options = {"format": format, "delimiter": delimiter, "encoding": encoding, "channels_first": channels_first}
    return Batches(Files(names, asked, options, block), buffer=buffer, sample=sample, rows=rows)


class _Pair(NamedTuple):
    X: Any
    y: Any


class FileBatch(_Pair):
    """A batch (X, y) of a file, the name of that, and what it calls its sequences."""

    file: str
    ids: list[Any] | None

    def __new__(cls, X: Any, y: Any, file: str = "", ids: list[Any] | None = None) -> FileBatch:
        batch = super().__new__(cls, X, y)
        batch.file, batch.ids = file, ids
        return batch


class Files:
    """The batches of `from_files`."""

    def __init__(self, names: list[str], asked: Asked, options: dict[str, Any], block: int) -> None:
        self._names, self._asked, self._options, self._block = names, asked, options, block

    def __repr__(self) -> str:
        more = f" and {len(self._names) - 1} more" if len(self._names) > 1 else ""
        return f"<files {self._names[0]}{more}>"

    def __iter__(self) -> Iterator[FileBatch]:
        seen: set[int] = set()  # of the ids, a number of 8 bytes each
        first: tuple[str, tuple[str, ...]] | None = None  # a file, and the names of its features
        kind_of = _KindOfLabels()
        for name in self._names:
            kind = format_of(name, self._options["format"])
            if kind in ("csv", "tsv"):
                first = self._like(name, kind, first)
            for where, dataset in self._datasets(name, kind, kind_of):
                if kind in ("csv", "tsv", "jsonl") and self._asked.id is not None:
                    _check_new(dataset.ids, seen, name, self._asked.id)
                yield FileBatch(dataset.X, kind_of.checked(dataset.y, where), name, dataset.ids)

    def _datasets(self, name: str, kind: str, kind_of: _KindOfLabels) -> Iterator[tuple[str, Dataset]]:
        """The parts of a file, and how messages call each."""
        asked, options = self._asked, self._options
        if kind not in ("csv", "tsv", "jsonl"):
            yield name, read_as(name, asked, **options)
            return
        refuse_what_has_no_meaning(kind, asked, options["delimiter"], options["channels_first"])
        if kind == "jsonl":
            for span, dataset in jsonlines.parts(name, options["encoding"], asked, self._block):
                yield f"{name}, {span}", dataset
            return
        empty = True
        with self._opened(name, kind) as table:
            for part in table.parts(self._block, asked.id):
                empty = False
                part.numeric = kind_of.numeric
                yield f"{name}, {part.span}", forms.read(part, asked)
        if empty:
            raise ValueError(f"{name} has a header but no rows.")

    def _like(self, name: str, kind: str, first: tuple[str, tuple[str, ...]] | None) -> tuple[str, tuple[str, ...]]:
        """The first table, and its features; ValueError where another has others."""
        with self._opened(name, kind) as table:
            features = roles(table, self._asked).features
        if first is not None and set(features) != set(first[1]):
            raise ValueError(_other_columns(name, set(features), first[0], set(first[1])))
        if first is not None and self._asked.id is None and features != first[1]:  # the columns are the steps
            k = next(k for k, (one, other) in enumerate(zip(features, first[1], strict=True)) if one != other)
            raise ValueError(
                f"{name} has the column {features[k]!r} as step {k + 1}, {first[0]} has {first[1][k]!r}: in wide form "
                "the columns are the steps, in one order in all files. Name them in order by features=."
            )
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


class _KindOfLabels:
    """Whether the labels of one pass are numbers: as those of the first block are."""

    def __init__(self) -> None:
        self.numeric: bool | None = None
        self._there = False

    def checked(self, y: Any, where: str) -> Any:
        """Labels of a block, one for each sequence or for each step: text that happens to be whole numbers stays text.

        Raises
        ------
        ValueError
            If there are none and before there were; if they are text and those were numbers, or numbers with fractions
            and those were text.
        """
        if y is None and self._there:
            raise ValueError(f"{where}: no sequence has a label, those before have one: fill it, or leave them out.")
        if y is None:
            return y
        self._there = True
        if isinstance(y, list):
            return [self._of_kind(row, where) if isinstance(row, np.ndarray) else row for row in y]
        return self._of_kind(y, where)

    def _of_kind(self, y: HostArray, where: str) -> HostArray:
        if y.dtype.kind not in "biufU" or not y.size:
            return y  # what is wrong with them the estimators say
        if self.numeric is None:
            self.numeric = y.dtype.kind != "U"
        if (y.dtype.kind != "U") is self.numeric:
            return y
        if not self.numeric and y.dtype.kind == "i":
            return y.astype(str)
        kinds = ("text, such as {!r}", "numbers") if self.numeric else ("numbers, such as {!r}", "text")
        raise ValueError(
            f"{where}: the labels are {kinds[0].format(y.ravel().tolist()[0])}, those before were {kinds[1]}: make all "
            "of one kind."
        )
