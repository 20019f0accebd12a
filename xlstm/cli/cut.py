"""What `train` learns of and what it holds out: the sequences of one file, which are in memory, in two parts."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import batch
from ..dataset import Sequences
from ..fitted import Table
from ..tables import counted
from . import given, labelled
from .common import Failure, listed, tell
from .given import Given
from .kinds import KINDS, Kind


class Cut(NamedTuple):
    """Labelled sequences in two parts."""

    name: str  # of the source, for messages
    kind: Kind
    what: str  # a sequence: "text" or "sequence"
    table: Table  # how it was read, for a model to remember
    skipped: int  # rows that were left out
    training: tuple[Any, Any]  # X and y, or batches of them and None
    measured: tuple[Any, Any]  # the same of what is held out, with y in any case
    kept: int  # how many sequences train
    aside: int  # and are held out
    suffix: str  # of the file that holds the latter
    content: bytes  # of it
    example: str  # what can be typed after the model's name


def of_one(options: Any, kind: Kind | None, split: str) -> Cut:
    """The embedded names, or one file.

    Raises
    ------
    Failure
        With all that is wrong; where there are too few to hold some of them out.
    """
    if options.data is None:
        found = given.first_names(kind or KINDS["classes"])
    else:
        found = given.for_training(options, kind, split)
    check_fits(options, found.X, found.name)
    # Of a table of numbers the reader has told it.
    told = found.table.form in ("long", "wide")
    if found.kind.name == "classes" and not told and (warning := labelled.like_missing(found.y)) is not None:
        tell("warning", warning)
    check_finite(options, found.kind, found.X, found.where)
    kept, aside = _split(found, options)
    return Cut(
        found.name,
        found.kind,
        found.what,
        found.table,
        found.skipped,
        (given.chosen(found.X, kept), given.chosen(found.y, kept)),
        (given.chosen(found.X, aside), given.chosen(found.y, aside)),
        len(kept),
        len(aside),
        found.suffix,
        found.content(aside) if aside else b"",
        _examples(found, [*aside, *kept], options),
    )


def check_finite(options: Any, kind: Kind, X: Any, where: Callable[[int], str]) -> None:
    """Raise a Failure with all sequences that hold what is no number."""
    missing = options.missing or kind.new().missing
    if problems := given.not_finite(X, where, missing):
        raise listed(list(problems.values()), "" if options.missing else "--missing mask reads gaps")


def check_fits(options: Any, X: Any, name: str) -> None:
    """Raise where a flag is of texts, or of numbers, and the data is the other."""
    numbers = isinstance(X, Sequences)
    for flag, given_ in (
        ("--words", options.words),
        ("--keep-case", options.keep_case),
        ("--embedding-size", options.embedding_size),
    ):
        if numbers and given_:
            raise Failure(f"{flag} is for texts, but {name} holds numbers: leave it out")
    if not numbers and options.missing is not None:
        raise Failure(f"--missing is for numbers, but {name} holds texts: leave it out")


def _are_numbers(labels: Sequence[Any]) -> bool:
    try:
        return bool(np.isfinite(np.array(labels, dtype=np.float64)).all())
    except (TypeError, ValueError):
        return False


def _split(found: Given, options: Any) -> tuple[list[int], list[int]]:
    """The numbers of the rows to train on, and of those held out, in the proportion of their classes."""
    n, rng = found.size, np.random.default_rng(options.seed)
    if not options.test_fraction:
        return list(range(n)), []
    strata = found.kind.strata(found.y)
    if strata is None:
        wanted = int(np.ceil(n * options.test_fraction))
        if wanted >= n:
            raise Failure(f"{found.name}: {counted(n, 'row')} are too few to hold {wanted} of them out")
        aside = np.sort(rng.permutation(n)[:wanted])
        return np.setdiff1d(np.arange(n), aside).tolist(), aside.tolist()
    _, numbers = np.unique(strata, return_inverse=True)
    try:
        kept, aside = batch.stratified_split(numbers, options.test_fraction, rng)
    except ValueError as error:
        hint = ""
        if _are_numbers(found.y):
            hint = " If they are numbers to be learned, say --task number."
        raise Failure(f"{found.name}: {error} Is {found.table.label!r} the column of the labels?{hint}") from None
    return kept.tolist(), aside.tolist()


def _examples(found: Given, rows: Iterable[int], options: Any) -> str:
    """What can be typed after the model: a short text that prints, or the file."""
    if options.data is None:
        return "Olga Boris"
    if found.what != "text":
        return f"--data {shlex.quote(options.data)}"
    return example_among(found.X[k] for k in rows) or "'some text'"


def example_among(texts: Iterable[str]) -> str:
    """The first short text that prints, as a shell takes it; nothing where there is none."""
    example = next((text for text in texts if len(text) <= 60 and text.isprintable()), None)
    if example is None:
        return ""
    return f"{'-- ' if example.startswith('-') else ''}{shlex.quote(example)}"
