"""Data that come in batches, again and again: what is passed in place of X and y where memory does not hold them all.

Nothing here knows a model. What a batch holds is read by `sequences` and by the task, as any X and y are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, MappingView
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .dataset import Dataset

BUFFER = 16_384
"""The rows of a buffer where nobody says how many."""
READ_ONCE = (
    "can be read only once, and training reads its batches again in every epoch: pass an object whose __iter__ begins "
    "anew each time, or the function that makes the iterator, xlstm.Batches(function)"
)


class Given(NamedTuple):
    """A batch as it came."""

    name: str  # "batch 0" for the first, as rows are numbered
    X: Any
    y: Any
    sample_weight: Any


class Batches:
    """Batches that can be read again and again, for data that memory does not hold: `clf.fit(xlstm.Batches(source))`.

    `fit`, `partial_fit`, `score` and `predict` and its kin take `source` itself, too, where it is an iterable object
    without places, such as a DataLoader of PyTorch: this class is for what else is to be said.

    Each batch is (X, y) or (X, y, sample_weight), a tuple, a list or a `Dataset`; to predict, that or X
    alone. There a list of two or three lists or arrays of one length is read as (X, y) or (X, y, sample_weight), which
    is what a DataLoader gives, if the first list is such a one, and the first of these holds no numbers, but sequences:
    for X alone, where it may be taken for that, give (X,).

    Batches need not be of one size, nor of that in which the model is trained: their rows are put into a buffer, and
    batches of `batch_size` rows of similar length are drawn from it.

    Parameters
    ----------
    source : iterable or callable
        What gives the batches: from the first on, each time that `iter` asks it; or a function without arguments whose
        result gives them once, such as a generator function.
    buffer : int
        The rows that are held together, encoded, 2 or more batches of training. Where it is full, the rows that are
        trained on next are drawn at random from it, and half of it stays, to mix with those that follow. So rows that
        stand further apart do not meet in a batch: data that are sorted by their labels are better shuffled before. If
        it holds all rows, training is the same as that on all of them in memory.
    sample : tuple, optional
        (X, y) or (X, y, sample_weight) that stands for all data: vocabulary or scaling, classes and their frequencies
        are learned from it. Without one a first pass over all batches learns them.
    rows : int, optional
        With `sample`, how many rows the batches have together: the number of epochs, the batch size and the schedule
        go by it. Without one they are counted.

    Raises
    ------
    TypeError
        If `source` gives nothing, or can be read only once.
    ValueError
        If a number is out of its range, or of `sample` and `rows` one is given alone.

    Notes
    -----
    Memory holds the buffer, a copy of up to half of it, and one batch as it came: for numbers in float32, about 6 bytes
    times the numbers of all steps of as many sequences as the buffer has rows; for tokens, 12 bytes a token.

    Every pass should give the same rows, in whatever order. One that gives another number of them than the first is
    warned of, one that gives none is an error.

    Of what may have been meant otherwise (`xlstm.AmbiguousDataWarning`) the X of the first batch is asked, but not its
    y, of which a few rows say too little; of `sample` both are.

    Examples
    --------
    >>> import xlstm
    >>> def batches():
    ...     for number in range(20):
    ...         letters = "ab" if number % 2 else "ba"
    ...         yield [letters, letters * 2, letters[::-1]], [letters[1], letters[1], letters[0]]  # the last letter
    >>> clf = xlstm.SequenceClassifier(hidden_size=8, max_iter=30, learning_rate_init=0.02, random_state=0)
    >>> clf.fit(xlstm.Batches(batches, buffer=1000)).predict(["abab", "ba"]).tolist()
    ['b', 'a']
    """

    def __init__(self, source: Any, *, buffer: int = BUFFER, sample: Any = None, rows: int | None = None) -> None:
        self.source, self.sample = source, sample
        self.buffer, self.rows = _count("buffer", buffer), None if rows is None else _count("rows", rows)
        if not callable(source):
            if not hasattr(source, "__iter__"):
                raise TypeError(
                    f"source must give batches when it is iterated over, or be a function that makes an iterator of "
                    f"them, got {type(source).__name__}."
                )
            check_again(source)
        if (sample is None) != (rows is None):
            given, lacks = ("rows", "sample") if sample is None else ("sample", "rows")
            raise ValueError(
                f"{given} is given without {lacks}: either a sample and the number of rows are both given, or a first "
                "pass finds out what it needs."
            )
        if sample is not None:
            one(sample, "sample")

    def __iter__(self) -> Iterator[Any]:
        made = self.source() if callable(self.source) else self.source
        if not hasattr(made, "__iter__"):
            raise TypeError(f"the function of the batches gave {type(made).__name__}, expected an iterator of batches.")
        return iter(made)

    def __repr__(self) -> str:
        return f"Batches({self.source!r}, buffer={self.buffer})"


def check_again(source: Any) -> None:
    """Raise where a source can be read only once.

    Raises
    ------
    TypeError
        What to pass.
    """
    if hasattr(source, "__next__") and iter(source) is source:
        raise TypeError(f"a {type(source).__name__} {READ_ONCE}.")


def _count(name: str, value: Any) -> int:
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be a number of rows, 1 or more, got {value!r}.")
    return number


def _is_source(X: Any) -> bool:
    """Whether X is iterable and nothing that is read as data: no list, array, table or mapping, nor a view of one."""
    if isinstance(X, Batches):
        return True
    if isinstance(X, (str, bytes, dict, set, frozenset, MappingView)) or not hasattr(X, "__iter__"):
        return False
    return not any(hasattr(X, name) for name in ("__getitem__", "__array__"))


def _is_list_of_batches(X: Any) -> bool:
    """Whether it holds tuples that begin with what may be an X and a y, each a collection of its own."""
    return (
        isinstance(X, (list, tuple))
        and len(X) > 0
        and all(
            isinstance(batch, tuple)
            and len(batch) in (2, 3)
            and all(hasattr(part, "__len__") and not isinstance(part, str) for part in batch[:2])
            for batch in X
        )
    )


def labelled(X: Any, y: Any, sample_weight: Any = None) -> Batches | None:
    """The batches of an X that was passed without y; None where it is data.

    Raises
    ------
    TypeError
        If it can be read only once, or is a function or a list, of which nobody knows whether they are batches; if y
        or weights were passed beside batches.
    """
    if isinstance(X, Batches) and y is not None:
        raise TypeError("y is given beside batches: they hold their own, (X, y) each.")
    is_function = callable(X) and not hasattr(X, "__iter__")
    if y is None and (is_function or _is_list_of_batches(X)):
        what = "a function" if is_function else "a list of tuples (X, y)"
        raise TypeError(f"X is {what}, and y is missing. If it gives batches, pass xlstm.Batches(X).")
    if y is not None or not _is_source(X):
        return None
    if sample_weight is not None:
        raise TypeError("sample_weight is given beside batches: they hold their own, (X, y, sample_weight) each.")
    return X if isinstance(X, Batches) else Batches(X)


def to_predict(X: Any) -> Iterable[Any] | None:
    """The batches of an X to predict; None where it is data, or read by nobody."""
    return X if _is_source(X) and not hasattr(X, "__next__") else None


def with_answers(batches: Iterable[Any]) -> Iterator[Given]:
    """Each batch, which has to be (X, y) or (X, y, sample_weight).

    Raises
    ------
    TypeError
        If one is none: it is named.
    """
    for number, batch in enumerate(batches):
        yield one(batch, f"batch {number}")


def first_pass(batches: Batches) -> Iterator[Given]:
    """The batches of which a training learns what it needs to begin: all, or the sample that stands for them."""
    return with_answers(batches) if batches.sample is None else iter([one(batches.sample, "sample")])


def one(batch: Any, name: str) -> Given:
    """(X, y) or (X, y, sample_weight) of this name.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        got = type(batch).__name__ + (f" of {len(batch)}" if isinstance(batch, (tuple, list)) else "")
        raise TypeError(f"{name} is a {got}, expected (X, y) or (X, y, sample_weight).")
    X, y, sample_weight = (batch.X, batch.y, None) if isinstance(batch, Dataset) else (*batch, None)[:3]
    if y is None:
        raise TypeError(f"{name} has no y: expected (X, y) or (X, y, sample_weight).")
    return Given(name, X, y, sample_weight)


def alone(batches: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """The name of each batch, and its X: itself, or the first of a tuple, or of a list that is (X, y).

    Lists are so where `fit` reads them so, of what `labelled` takes for batches, if the first of them can be: see
    `Batches`.

    Raises
    ------
    TypeError
        If a tuple is empty, or a list cannot be (X, y) although those before were.
    """
    pairs = None if _is_source(batches) and not hasattr(batches, "__next__") else False
    for number, batch in enumerate(batches):
        if isinstance(batch, tuple) and not batch:
            raise TypeError(f"batch {number} is an empty tuple, expected X, or a tuple that begins with it.")
        is_list = isinstance(batch, list)
        if is_list and pairs is None:
            pairs = _may_be_pair(batch)
        if is_list and pairs and not _may_be_pair(batch):
            raise TypeError(
                f"batch {number} is a list of {len(batch)} that is not (X, y), for which those before it were taken: "
                "make each a tuple, (X, y), or (X,) of X alone."
            )
        yield f"batch {number}", batch[0] if isinstance(batch, tuple) or (is_list and pairs) else batch


def _may_be_pair(batch: list[Any]) -> bool:
    """Whether a list may be (X, y) or (X, y, sample_weight): two or three collections of one length.

    Where the first holds numbers, each is a sequence of them: an X holds sequences.
    """
    lengths = {_length(part) for part in batch}
    return len(batch) in (2, 3) and len(lengths) == 1 and lengths != {None} and not _holds_numbers(batch[0])


def _holds_numbers(part: Any) -> bool:
    """Whether a collection is one of numbers, (n,)."""
    dimensions = getattr(part, "ndim", None)
    if dimensions is not None:
        return dimensions == 1 and getattr(getattr(part, "dtype", None), "kind", "f") not in "OUST"
    return isinstance(next(iter(part), None), (int, float, np.number))


def _length(part: Any) -> int | None:
    """How many rows there are; None where it is one text, or one number."""
    if isinstance(part, (str, bytes)) or not hasattr(part, "__len__"):
        return None
    try:
        return len(part)
    except TypeError:  # an array of no dimension
        return None


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors begin with this name: of what was being read."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind: Callable[[str], Exception] = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{name}: {error}") from error
