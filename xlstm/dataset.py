"""Sequences as they come out of a file or a table: all steps in one array, lengths, and names of features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from .host import HostArray, on_host
from .labels import Ids
from .names import Names
from .nested import is_nested
from .nested import read as read_nested


class Sequences:
    """Numeric sequences of any lengths, with the names of their features.

    An estimator takes them as X, and matches features by their names. Sequences are indexed as an array of shape (n,)
    is, so that scikit-learn's `train_test_split`, cross-validations and searches cut them, and names stay.

    Parameters
    ----------
    values : array (S, D)
        All steps of all sequences, one after another, where S is the sum of the lengths; (S,) for one feature. float32
        and float64 are taken as they are, without a copy; other real numbers as float64. NaN is a missing value.
    lengths : array of int (n,)
        The steps of each sequence, each at least one.
    names : sequence of str (D,), optional
        The names of the features, no two alike.

    Attributes
    ----------
    values : array (S, D)
        All steps.
    lengths : array (n,)
        int64.
    names : tuple of str or None
        The names of the features.

    Raises
    ------
    ValueError
        If the lengths do not sum up to S, one of them is below one, or names are not as many as features, or twice.
    TypeError
        If the values are no real numbers, or the lengths no integers.

    Examples
    --------
    >>> X = Sequences([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [2, 1], ["x", "y"])
    >>> X[1]
    array([[5., 6.]])
    >>> X[[False, True]]
    <1 sequence of 1 step: x, y>
    """

    def __init__(self, values: Any, lengths: Any, names: Sequence[str] | None = None) -> None:
        array = on_host("values", values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"values must be real numbers (S, D), got dtype {array.dtype}.")
        if array.dtype not in (np.float32, np.float64):
            array = array.astype(np.float64)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2:
            raise ValueError(f"values must be all steps, (S, D), got an array of shape {array.shape}.")
        counts = on_host("lengths", lengths)
        if counts.ndim != 1 or (counts.dtype.kind not in "iu" and counts.size):
            raise TypeError(f"lengths must be integers (n,), got {counts.dtype} of shape {counts.shape}.")
        if counts.size and counts.min() < 1:
            k = int(np.argmin(counts))
            raise ValueError(f"lengths[{k}] is {counts[k]}: each sequence needs at least one step.")
        if counts.sum() != len(array):
            raise ValueError(f"lengths sum up to {counts.sum()}, but values has {len(array)} steps.")
        self.values, self.lengths = array, counts.astype(np.int64)
        self.names: Names | None = None if names is None else _checked(names, array.shape[1])
        self._ends = np.cumsum(self.lengths)

    @classmethod
    def of(cls, lists: Any, names: Sequence[str] | None = None) -> Sequences:
        """Sequences of an array of lists, of Arrow, awkward or polars, or of a list of arrays (time_i, D).

        The names of a record's fields are the names of features, where none are given.

        Raises
        ------
        ValueError
            If a sequence is empty or has other features than the first; the row is named.
        TypeError
            If it holds something else than numbers.
        """
        if is_nested(lists):
            nested = read_nested(lists)
            return cls(nested.values, nested.lengths, nested.names if names is None else names)
        if not isinstance(lists, (list, tuple)) or not lists:
            raise TypeError(f"lists must be an array of lists or a list of arrays (time_i, D), got {lists!r:.60}.")
        arrays = [on_host(f"row {k}", row) for k, row in enumerate(lists)]
        arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
        for k, array in enumerate(arrays):
            if array.ndim != 2 or array.shape[1:] != arrays[0].shape[1:] or 0 in array.shape:
                raise ValueError(f"row {k} has the shape {array.shape}: expected (time, features), as of all others.")
        return cls(np.concatenate(arrays), [len(array) for array in arrays], names)

    @property
    def shape(self) -> tuple[int]:
        """(n,), as of an array whose elements are sequences."""
        return (len(self.lengths),)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[HostArray]:
        return (self._one(k) for k in range(len(self)))

    def _one(self, k: int) -> HostArray:
        end = int(self._ends[k])
        return self.values[end - int(self.lengths[k]) : end]

    @overload
    def __getitem__(self, key: int) -> HostArray: ...

    @overload
    def __getitem__(self, key: Any) -> Any: ...

    def __getitem__(self, key: Any) -> Any:
        """One sequence (time_i, D) by its number; several, as `Sequences`, by a slice, a mask or their numbers.

        Raises
        ------
        IndexError
            If there is no such sequence.
        """
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # as scikit-learn indexes what has a shape
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            if not -len(self) <= key < len(self):
                raise IndexError(f"there is no sequence {key}: there are {len(self)}.")
            return self._one(int(key) % len(self))
        if isinstance(key, slice) and key.step in (None, 1):
            start, stop, _ = key.indices(len(self))
            lengths = self.lengths[start : max(start, stop)]
            first = int(self._ends[start] - self.lengths[start]) if len(lengths) else 0
            return Sequences(self.values[first : first + int(lengths.sum())], lengths, self.names)
        rows = np.arange(len(self))[np.asarray(key, dtype=np.int64) if isinstance(key, list) and not key else key]
        if rows.ndim != 1:
            raise IndexError(f"sequences are indexed by a number, a slice, a mask or numbers (n,), got {key!r:.80}.")
        lengths = self.lengths[rows]
        # Each step's place: that of its sequence's first, and how far it is from there.
        before = np.cumsum(lengths) - lengths
        places = np.repeat(self._ends[rows] - lengths - before, lengths) + np.arange(int(lengths.sum()))
        return Sequences(self.values[places], lengths, self.names)

    def __repr__(self) -> str:
        n, D = len(self), self.values.shape[1]
        if n == 0:
            steps = ""
        else:
            shortest, longest = int(self.lengths.min()), int(self.lengths.max())
            steps = f" of {shortest}" if shortest == longest else f" of {shortest} to {longest}"
            steps += " step" if longest == 1 else " steps"
        shown = ", ".join(self.names[:8]) + (", …" if D > 8 else "") if self.names is not None else ""
        features = shown or f"{D} feature{'' if D == 1 else 's'}"
        return f"<{n} sequence{'' if n == 1 else 's'}{steps}: {features}>"


def _checked(names: Sequence[str], D: int) -> Names:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"names must be strings, one for each feature, got {names!r:.80}.")
    if len(names) != D:
        raise ValueError(f"names has {len(names)} names, but values has {D} features.")
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise ValueError(f"names has {twice!r} twice: give each feature a name of its own.")
    return tuple(map(str, names))


class _Parts(NamedTuple):
    X: Any
    y: Any = None
    ids: list[Any] | None = None


class Dataset(_Parts):
    """What a file or a table holds: `X, y, ids = xlstm.read(path)`.

    Attributes
    ----------
    X : Sequences, list of str, or list of list of str
        Numeric sequences; texts; or, where each step is a token, lists of tokens.
    y : array (n,), list, or None
        A label or a number for each sequence; a list of arrays (time_i,) where there is one for each step, or of lists
        where a sequence has several; None where there are no labels.
    ids : list or None
        What the file calls the sequences, in their order; None where they have no names.

    Notes
    -----
    A batch, and what `fit(validation=...)` takes, may be a `Dataset`: X and y are read of it. `fit` and `predict`
    themselves take its parts, `fit(data.X, data.y)`.
    """

    __slots__ = ()

    def __new__(cls, X: Any, y: Any = None, ids: list[Any] | None = None) -> Dataset:
        return super().__new__(cls, X, y, None if ids is None else Ids(ids))
