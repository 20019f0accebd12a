"""Several files to train on, read again in every pass, some sequences at a time: memory does not hold them."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import tables
from ..dataset import Sequences
from ..fitted import Table
from ..guesses import AmbiguousDataWarning
from ..host import HostArray
from ..readers.files import from_files
from ..readers.kinds import ENDINGS
from ..sources import Batches
from . import given, reading
from .common import Failure, is_same_file
from .cut import Cut, check_finite, check_fits, example_among
from .kinds import Kind, Where, by_default


def of_several(options: Any, kind: Kind | None, split: str) -> Cut:
    """All files of a call, read once: what is wrong in them is said before anything is trained.

    Raises
    ------
    Failure
        What is wrong; where the files are in different forms.
    """
    form = reading.form_of(options, options.data)
    for k, name in enumerate(options.files[1:], start=1):
        if any(is_same_file(name, other) for other in options.files[:k]):
            raise Failure(f"{name} is named twice: what is held out of it would train")
        alike = reading.form_of(options, name) == form
        if not alike or (form == "file" and _format(name) != _format(options.data)):
            raise Failure(f"{options.data} and {name} are files of different kinds: train on those of one kind")
    reading.refuse_what_says_nothing(options, form)
    table = reading.with_steps(options, given.table_of(options, form))
    files = _Files(options, kind, split, table)
    with reading.told_in_flags():
        return files.cut()


def _format(name: str) -> str:
    return ENDINGS[reading.ending(name)]


class _Some(NamedTuple):
    """Some sequences of one file."""

    file: str
    X: Any
    y: Any
    names: list[list[str]]  # of each its id, or else its number in the file
    aside: HostArray  # (n,) whether each is held out


class _Files:
    """The labelled sequences of files, of which some are held out: by chance, drawn in the order of the files."""

    def __init__(self, options: Any, kind: Kind | None, split: str, table: Table) -> None:
        self._options, self._kind, self._split, self._table = options, kind, split, table
        arguments = reading.arguments_of(
            options,
            table,
            with_text=table.form == "text" or options.text is not None,
            each_step=kind is not None and kind.name == "steps",
            several=kind is not None and kind.empty,
        )
        if table.form != "file":
            arguments |= {"format": "csv", "delimiter": options.delimiter}
        with reading.told_in_flags():
            self._source = from_files(
                options.files, encoding=options.encoding, channels_first=table.channels_first, **arguments
            )

    def cut(self) -> Cut:
        """What trains and what is held out, after one pass over all."""
        kept, example, what = 0, "", "text"
        listed: list[list[str]] = []
        y: list[Any] = []
        ids = False
        for some in self._passed(first=True):
            kept += int((~some.aside).sum())
            rows = np.flatnonzero(some.aside)
            listed += [[some.file, some.names[k][-1]] for k in rows.tolist()]
            y += list(given.chosen(some.y, rows.tolist()))
            ids = ids or len(some.names[0]) > 1
            if isinstance(some.X, Sequences) or not isinstance(some.X[0], str):
                what = "sequence"
            elif not example:
                example = example_among(some.X)
        if not kept or (self._options.test_fraction and not listed):
            raise Failure(
                f"{self._name} and the others have {tables.counted(kept + len(listed), 'sequence')}, too few to hold "
                "some of them out: --test-fraction 0 holds out none"
            )
        assert self._kind is not None
        labels = np.stack(y) if y and isinstance(y[0], np.ndarray) else y
        separator = self._table.separator if self._kind.name == "labels" else None
        return Cut(
            f"{self._name} and {tables.counted(len(self._options.files) - 1, 'other file')}",
            self._kind,
            what,
            self._table._replace(separator=separator),
            0,
            (Batches(lambda: self._part(aside=False)), None),
            (Batches(lambda: self._part(aside=True)), labels),
            kept,
            len(listed),
            given.LIST,
            tables.content([[given.FILE, given.ID if ids else given.NUMBER], *listed], ","),
            example or f"--data {shlex.quote(self._name)}",
        )

    @property
    def _name(self) -> str:
        return str(self._options.data)

    def _part(self, aside: bool) -> Iterator[tuple[Any, Any]]:
        for some in self._passed():
            rows = np.flatnonzero(some.aside == aside).tolist()
            if rows:
                yield given.chosen(some.X, rows), given.chosen(some.y, rows)

    def _passed(self, first: bool = False) -> Iterator[_Some]:
        rng, before, file = np.random.default_rng(self._options.seed), 0, ""
        batches = iter(self._source)
        while True:
            with warnings.catch_warnings():
                if not first:  # it was told
                    warnings.simplefilter("ignore", AmbiguousDataWarning)
                batch: Any = next(batches, None)
            if batch is None:
                return
            (X, y), n = batch, len(batch.X)
            before = before if batch.file == file else 0
            file = batch.file
            aside = rng.random(n) < self._options.test_fraction
            numbers = [str(before + k + 1) for k in range(n)]
            names = [[number] for number in numbers]
            if batch.ids is not None:
                names = [[number, str(each)] for number, each in zip(numbers, batch.ids, strict=True)]

            def where(k: int, names: list[list[str]] = names, file: str = file) -> str:
                number, *own = names[k]
                return f"the sequence {own[0]!r} of {file}" if own else f"sequence {number} of {file}"

            if y is None:
                raise Failure(f"{file} has no labels: name their column by --label")
            if self._kind is None:
                self._kind = by_default(y, file)
            if first:
                check_fits(self._options, X, file)
                check_finite(self._options, self._kind, X, where)
            yield _Some(file, X, self._labels(X, y, where), names, aside)
            before += n

    def _labels(self, X: Any, y: Any, where: Where) -> Any:
        """y as the kind of answers has it."""
        assert self._kind is not None
        separator = self._table.separator or reading.SEPARATOR
        if self._table.form != "text" or self._kind.empty:
            return self._kind.of_data(y, separator, where)
        fields = [str(label) for label in y.tolist()]
        for k, (label, text) in enumerate(zip(fields, X, strict=True)):
            if (wrong := self._kind.wrong(label, text, self._split)) is not None:
                raise Failure(f"{where(k)} {wrong}")
        return self._kind.of_fields(fields, self._split, separator)
