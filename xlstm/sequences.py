"""What users pass as X, made into one form: the only place that reads and checks input.

Whatever comes in – strings, lists of tokens, ragged lists of (time_i, features), arrays – becomes a `Series` or a
`Texts`: all steps of all sequences one after another, and the length of each. Nothing here knows a model. Arrays on a
GPU stay there (`ondevice`): their lengths are known from their shapes, and what is asked of all their numbers comes to
the host as one flag.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from . import blocks, ondevice
from .backends import Backend, is_on_gpu
from .dataset import Dataset, Sequences
from .host import HostArray, is_missing, on_host
from .labels import callers_level
from .names import Names, are_numbers, features_of, given, matched, names_of, plain, steps_names
from .namespace import Array
from .nested import holds_strings, is_nested
from .nested import rows as nested_rows
from .numeric import check_finite, int64, joined, numbers, real
from .series import Series, Texts

ENCODINGS = ("auto", "tokens")
SPLITS = ("characters", "words")
MISSING = ("error", "mask")


class Reading(NamedTuple):
    """How X is read: some of an estimator's settings, and the arguments of `read` after X."""

    encoding: str = "auto"
    split: str = "characters"
    missing: str = "error"


def read(X: Any, encoding: str = "auto", split: str = "characters", missing: str = "error") -> Series | Texts:
    """X in the one form.

    Parameters
    ----------
    X
        A list of strings; a list of lists of strings (each string is a token); a list of arrays (time_i, D) or
        (time_i,), data frames included; an array (n, time, D) or (n, time). Features with names, which are the columns
        of frames and the fields of arrays, are brought into the order of the first row that has some. Arrays may lie
        on a GPU, and stay there.
    encoding
        `"auto"`: numbers are series. `"tokens"`: integers are tokens.
    split
        What the tokens of a string are: its `"characters"`, or its `"words"`, which white space separates.
    missing
        Whether a number that is missing is an `"error"`, or may stand in a series as NaN: `"mask"`.

    Raises
    ------
    ValueError
        If a sequence is empty, holds infinity, or NaN where that is an error, or has another number of features than
        the first; the row is named. If X is empty, or has a shape that is none of these.
    TypeError
        If X is of a type that cannot be read.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding must be 'auto' or 'tokens', got {encoding!r}.")
    if split not in SPLITS:
        raise ValueError(f"split must be 'characters' or 'words', got {split!r}.")
    if missing not in MISSING:
        raise ValueError(f"missing must be 'error' or 'mask', got {missing!r}.")
    if is_nested(X):
        X = nested_rows(X) if holds_strings(X) else Sequences.of(X)
    if isinstance(X, Sequences):
        return _from_sequences(X, encoding, missing)
    if hasattr(X, "toarray") and hasattr(X, "nnz"):
        raise TypeError("sparse data is not supported: pass a dense array, X.toarray().")
    if is_on_gpu(X):
        place, there = ondevice.taken("X", X)
        with place.current():
            return _from_array(there, encoding, missing, None, place)
    _refuse_what_is_no_list(X)
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError(
            "masked arrays are not supported: pass X.filled(value), or a ragged list without what is masked; for gaps "
            "X.filled(np.nan), with missing='mask'."
        )
    if not isinstance(X, (list, tuple)):
        array = plain("X", on_host("X", X, "pass a list of arrays of their own lengths"))
        if array.ndim == 0 and array.dtype.kind in "OUST":
            raise TypeError(f"X must be a list of sequences or an array, got one {array.dtype} without dimensions.")
        if array.dtype.kind not in "OUST" or (
            array.ndim == 2 and array.dtype.kind == "O" and not _holds_strings(array)
        ):
            named = features_of(X) if array.ndim == 3 else names_of(X)
            return _from_array(array, encoding, missing, named)
        if array.ndim == 2 and hasattr(X, "columns") and not all(isinstance(v, str) or is_missing(v) for v in array[0]):
            raise TypeError(f"X is a table of texts and other values. Where a row is a step, {FROM_LONG} reads it.")
        if array.ndim == 2 and array.shape[1] == 1 and _holds_strings(array):
            raise ValueError(
                f"X has one column of texts, shape {array.shape}: pass the column itself, X[:, 0] or X[name]."
            )
        X = list(array)  # strings, rows of words, or an array of objects: rows of different lengths
    if len(X) == 0:
        raise ValueError("X is empty: Found array with 0 sample(s), while a minimum of 1 is required.")
    if set(map(type, X)) == {np.ndarray} and encoding != "tokens":
        series = _from_arrays(X)
        if series is not None:
            check_finite(series, missing, padded=series.columns is not None)
            return series
    if all(isinstance(row, str) for row in X):
        return _from_strings(X) if split == "characters" else _from_words([text.split() for text in X])
    if any(isinstance(row, (str, bytes)) for row in X):
        k = next(k for k, row in enumerate(X) if not isinstance(row, str))
        hint = ": decode it, row.decode()" if isinstance(X[k], bytes) else ""
        if is_missing(X[k]):
            hint = ", a missing value: fill it, or leave the row and its label out"
        raise TypeError(f"X holds strings, but row {k} is {type(X[k]).__name__}{hint}.")
    if all(isinstance(row, (int, float, complex, np.generic)) for row in X):
        raise ValueError(
            "Expected 2D array (n, time), 3D array (n, time, features) or a list of sequences, got a 1D array of "
            "numbers. One sequence is [X]. Reshape your data: X.reshape(-1, 1) for sequences of one step."
        )
    common, X = ondevice.rows_taken(X)
    if common is not None:
        with common.current():
            if encoding == "tokens":
                return _from_integers(X, common)
            return _from_list(X, missing, [None] * len(X), common)
    names = [steps_names(k, row) if isinstance(row, (list, tuple)) else features_of(row) for k, row in enumerate(X)]
    rows = [_row(k, row) for k, row in enumerate(X)]
    if any(len(row) > 0 and isinstance(row[0], str) for row in rows):
        return _from_words(rows)
    if encoding == "tokens":
        return _from_integers(rows)
    return _from_list(rows, missing, names)


FROM_LONG = "X, y, ids = xlstm.from_long(table, id=..., time=..., label=...)"
"""How a table with a step a row becomes sequences, each in the order of its times."""
_FEATURES = ", where features is a list of the columns that are data, without the label"


def _refuse_what_is_no_list(X: Any) -> None:
    """Raise where X is one sequence, a collection without order, or a table that is not yet one for each sequence."""
    kind = type(X)
    if isinstance(X, Dataset):
        raise TypeError("X is a Dataset: pass its parts, data.X, and as y data.y.")
    if isinstance(X, (str, bytes)):
        raise TypeError(f"X must be a list of sequences or an array, got one {kind.__name__}: one sequence is [X].")
    if hasattr(X, "groups") and hasattr(X, "obj"):
        if getattr(X, "ndim", 2) == 1:
            raise TypeError(f"X is a {kind.__name__}: pass its groups as a list, [group for _, group in X].")
        raise TypeError(f"X is a {kind.__name__}: pass the sequences of its table, {FROM_LONG}.")
    if isinstance(X, dict):
        tables = any(hasattr(row, "columns") for row in X.values())
        advice = (
            f"[table[features] for table in X.values()]{_FEATURES}, and rows in their order in time"
            if tables
            else "list(X.values())"
        )
        raise TypeError(f"X must be a list of sequences or an array, got dict: pass {advice}.")
    if hasattr(X, "collect"):
        raise TypeError(f"X is a {kind.__name__}, which is not computed yet: pass X.collect().")
    if isinstance(X, (set, frozenset)):
        raise TypeError(f"X must be a list of sequences or an array, got {kind.__name__}, which has no order.")
    if not (hasattr(X, "__len__") or hasattr(X, "__array__")):
        advice = ": pass list(X)" if hasattr(X, "__iter__") else ""
        raise TypeError(f"X must be a list of sequences or an array, got {kind.__name__}{advice}.")


def _row(k: int, row: Any) -> Any:
    """One row of a list as a list, a tuple or an array; TypeError where it is no sequence."""
    if isinstance(row, tuple) and len(row) == 2 and hasattr(row[1], "columns"):
        raise TypeError(
            f"row {k} of X is a pair of a group's key and its table: pass the sequences of the whole, {FROM_LONG}."
        )
    if isinstance(row, (list, tuple)):
        return row
    if isinstance(row, (str, bytes, dict, set, frozenset)) or not hasattr(row, "__len__"):
        kind = type(row).__name__
        hint = ": pass an array (time, features) of its values" if isinstance(row, dict) else ""
        raise TypeError(f"row {k} of X is {kind}, not a sequence like the others{hint}.")
    if isinstance(row, np.ma.MaskedArray):
        raise TypeError(
            f"row {k} of X is masked, which is not supported: leave out what is masked, or fill it; for gaps "
            "row.filled(np.nan), with missing='mask'."
        )
    array = plain(f"row {k} of X", on_host(f"row {k} of X", row, "each must be (time, features) or (time,)"))
    if array.ndim == 0:
        raise TypeError(f"row {k} of X is one {array.dtype}, not a sequence.")
    return array.tolist() if array.dtype.kind in "UT" else array


def _holds_strings(array: HostArray) -> bool:
    return any(isinstance(value, str) for value in array.flat)


def _check_lengths(lengths: HostArray) -> None:
    if (lengths == 0).any():
        raise ValueError(f"row {int(np.argmin(lengths))} of X is an empty sequence: each needs at least one step.")


def _from_strings(X: Sequence[str]) -> Texts:
    lengths = np.array([len(text) for text in X], dtype=np.int64)
    _check_lengths(lengths)
    return Texts("".join(X), lengths, "characters")


def _from_words(X: Sequence[Sequence[str]]) -> Texts:
    lengths = np.array([len(row) for row in X], dtype=np.int64)
    _check_lengths(lengths)
    for k, row in enumerate(X):
        for word in row:
            if not isinstance(word, str):
                raise TypeError(
                    f"row {k} of X mixes strings with {type(word).__name__} {word!r}: tokens must be strings."
                )
    return Texts([str(word) for word in chain.from_iterable(X)], lengths, "words")


def _from_integers(X: Sequence[Any], place: Backend | None = None) -> Texts:
    rows = []
    for k, row in enumerate(X):
        try:
            array = row if place is not None else np.asarray(row)
        except ValueError:
            raise ValueError(
                f"row {k} of X is ragged inside: with encoding='tokens' each is integers (time_i,)."
            ) from None
        if array.size == 0:
            raise ValueError(f"row {k} of X is an empty sequence: each needs at least one step.")
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise TypeError(
                f"with encoding='tokens' each row holds integers (time_i,), or strings; row {k} of X has dtype "
                f"{array.dtype} and shape {array.shape}."
            )
        rows.append(int64(array, f"row {k} of X", place))
    return Texts(joined(rows, place), np.array([len(row) for row in rows], dtype=np.int64), "integers", place)


def _from_array(
    array: Array, encoding: str, missing: str, names: Names | None, place: Backend | None = None
) -> Series | Texts:
    """(n, time) or (n, time, D)."""
    if array.ndim not in (2, 3):
        raise ValueError(
            f"Expected 2D array (n, time) or 3D array (n, time, features), got an array of shape {array.shape}. "
            "Reshape your data." + (" One sequence is [X]." if array.ndim == 1 else "")
        )
    if array.shape[0] == 0:
        raise ValueError(
            f"X is empty: Found array with 0 sample(s) (shape={array.shape}) while a minimum of 1 is required."
        )
    if 0 in array.shape:
        raise ValueError(
            f"X has no steps or features: Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is "
            "required."
        )
    n, time = array.shape[:2]
    if encoding == "tokens":
        if array.ndim != 2 or array.dtype.kind not in "iu":
            raise TypeError(
                f"with encoding='tokens' an array must hold integers (n, time), got {array.dtype} {array.shape}."
            )
        return Texts(int64(array.reshape(-1), "X", place), np.full(n, time, np.int64), "integers", place)
    if array.dtype.kind == "O" and any(hasattr(cell, "__len__") for cell in array.flat):
        raise TypeError(
            "the cells of X are sequences themselves (a nested table): make one array (time, features) of each row, "
            "[np.column_stack(list(row)) for row in np.asarray(X)]."
        )
    values = real(array) if place is None else numbers(array)
    features = 1 if array.ndim == 2 else array.shape[2]
    columns = time if array.ndim == 2 else None
    lengths = np.full(n, time, np.int64)
    steps: Any
    if place is None and not values.flags.c_contiguous:
        steps = blocks.Separate(list(values), lengths)  # as one array it would be a copy
    else:
        steps = values.reshape(n * time, features)
    series = Series(steps, lengths, columns, names, columns is not None, place)
    check_finite(series, missing, padded=True)
    return series


def _from_sequences(X: Sequences, encoding: str, missing: str) -> Series | Texts:
    """They are in the one form already."""
    if len(X) == 0:
        raise ValueError("X is empty: Found array with 0 sample(s), while a minimum of 1 is required.")
    if encoding == "tokens":
        whole = X.values[:, 0].astype(np.int64) if np.isfinite(X.values).all() else None
        if X.values.shape[1] != 1 or whole is None or (whole != X.values[:, 0]).any():
            raise TypeError(f"with encoding='tokens' each step is one whole number, which these are not: {X!r}.")
        return Texts(whole, X.lengths, "integers")
    series = Series(X.values, X.lengths, None, X.names)
    check_finite(series, missing, padded=False)
    return series


def _from_arrays(X: Sequence[HostArray]) -> Series | None:
    """A list of host arrays of numbers without names, all of them alike: None where any is not, which others say."""
    kinds, dimensions = {dtype.kind for dtype in set(map(attrgetter("dtype"), X))}, set(map(attrgetter("ndim"), X))
    if not kinds <= set("fiub") or not (dimensions == {1} or dimensions == {2}):
        return None
    lengths = np.fromiter(map(len, X), np.int64, len(X))
    features = {shape[1:] for shape in map(attrgetter("shape"), X)}
    if len(features) > 1 or (0,) in features or not lengths.all():
        return None
    return _one_after_another(X, lengths)


def _one_after_another(rows: Sequence[HostArray], lengths: HostArray, names: Names | None = None) -> Series:
    """Arrays (time_i, D) or (time_i,) of real numbers."""
    of_one_length = rows[0].ndim == 1 and bool((lengths == lengths[0]).all())
    return Series(blocks.Separate(rows, lengths), lengths, int(lengths[0]) if of_one_length else None, names)


def _from_list(X: Sequence[Any], missing: str, names: Sequence[Names | None], place: Backend | None = None) -> Series:
    """A list of (time_i, D) or (time_i,), and of each the names of its features."""
    rows = []
    others = next((own for own in names if own is not None and not are_numbers(own)), None)
    if others is not None:
        names = [given(own, others) for own in names]
    first = next((k for k, own in enumerate(names) if own is not None), None)
    expected = None if first is None else names[first]
    if expected is not None and None in names and not are_numbers(expected):
        warnings.warn(
            f"row {names.index(None)} of X has no names of features, row {first} has some: its features are taken to "
            f"stand in the order {', '.join(map(repr, expected))}",
            stacklevel=callers_level(),
        )
    for k, row in enumerate(X):
        try:
            array = row if place is not None else np.asarray(row)
        except ValueError:
            raise ValueError(f"row {k} of X is ragged inside: each must be (time, features) or (time,).") from None
        own = names[k]
        if own is not None and expected is not None and array.ndim == 2:
            order = matched(own, expected, f"row {k} of X", f"row {first}")
            array = array if order is None else array[:, order]
        if array.ndim not in (1, 2):
            raise ValueError(f"row {k} of X has shape {array.shape}: each must be (time, features) or (time,).")
        if 0 in array.shape:
            raise ValueError(f"row {k} of X is an empty sequence (shape {array.shape}): each needs at least one step.")
        rows.append(real(array, k, own) if place is None else numbers(array, k, own))
    D = 1 if rows[0].ndim == 1 else rows[0].shape[1]
    for k, array in enumerate(rows):
        if array.ndim != rows[0].ndim or (array.ndim == 2 and array.shape[1] != D):
            raise ValueError(
                f"row {k} of X has shape {array.shape}, but row 0 has {rows[0].shape}: all must have the same features."
            )
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    series = _one_after_another(rows, lengths, expected)
    if place is not None:
        whole = joined([array.reshape(len(array), D) for array in rows], place)
        series = series._replace(steps=whole, place=place)
    check_finite(series, missing, padded=series.columns is not None)
    return series
