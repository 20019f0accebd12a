"""Arrays of lists, of Arrow, awkward or polars: their steps in one array, from their own buffers.

None of these libraries is imported: an object of one of them brings the methods that are called here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .host import HostArray
from .names import Names


class Nested(NamedTuple):
    """The steps of all sequences, one after another."""

    values: HostArray  # (S, D), float32 or float64
    lengths: HostArray  # (n,)
    names: Names | None  # of the fields, where a step is a record


def is_nested(X: Any) -> bool:
    """Whether X is an array of one of these libraries whose elements are lists, or records of lists."""
    library = _library(X)
    if library == "polars":
        kind = str(getattr(X, "dtype", ""))
        return kind.startswith(("List", "Array")) or (kind.startswith("Struct") and "List" in kind)
    if library == "pyarrow":
        kind = str(getattr(X, "type", ""))
        return kind.startswith(("list<", "large_list<", "fixed_size_list<")) or (
            kind.startswith("struct<") and "list<" in kind
        )
    return library == "awkward" and hasattr(X, "layout")


def holds_strings(X: Any) -> bool:
    """Whether what is_nested holds strings: tokens, or texts."""
    kind = str(getattr(X, "type", None) if _library(X) != "polars" else X.dtype).lower()
    return "string" in kind or "utf8" in kind


def rows(X: Any) -> list[Any]:
    """The elements as lists of Python's own objects."""
    return list(X.to_pylist() if hasattr(X, "to_pylist") else X.to_list())


def read(X: Any, what: str = "X") -> Nested:
    """The sequences of an array of lists: of numbers, of lists of numbers, or of records of numbers.

    Raises
    ------
    ValueError
        If a list is missing or empty, or has steps of different numbers of features; the row is named.
    TypeError
        If it holds something else than numbers.
    """
    fields = _fields(X)
    if fields is not None:  # a record of lists: each field a feature
        parts = {name: read(column, f"the field {name!r} of {what}") for name, column in fields.items()}
        first, *others = parts.values()
        for name, part in parts.items():
            if not np.array_equal(part.lengths, first.lengths):
                row = int(np.argmax(part.lengths != first.lengths))
                raise ValueError(
                    f"row {row} of {what} has {first.lengths[row]} steps in the field {next(iter(parts))!r}, but "
                    f"{part.lengths[row]} in {name!r}."
                )
        return Nested(
            np.concatenate([part.values for part in (first, *others)], axis=1), first.lengths, tuple(map(str, parts))
        )
    lengths, steps = _lists(X, what)
    if len(lengths) and lengths.min() < 1:
        raise ValueError(f"row {int(np.argmin(lengths))} of {what} is an empty sequence: each needs at least one step.")
    fields = _fields(steps)
    if fields is not None:
        return Nested(
            np.stack([_numbers(column, what) for column in fields.values()], axis=1), lengths, tuple(map(str, fields))
        )
    if _is_list(steps):
        widths, numbers = _lists(steps, what, lengths)
        if len(widths) and (widths != widths[0]).any():
            row = int(np.searchsorted(np.cumsum(lengths), int(np.argmax(widths != widths[0])), side="right"))
            raise ValueError(f"row {row} of {what} has steps of other numbers of features than row 0.")
        return Nested(_numbers(numbers, what).reshape(len(widths), -1), lengths, None)
    values = _numbers(steps, what)
    return Nested(values.reshape(len(values), -1), lengths, None)


def _library(X: Any) -> str:
    return type(X).__module__.partition(".")[0]


def _layout(X: Any) -> Any:
    """What awkward keeps an array as, without what only says which elements are there."""
    layout = getattr(X, "layout", X).to_packed()
    while type(layout).__name__ in ("UnmaskedArray", "IndexedArray"):
        layout = layout.content
    return layout


def _is_list(X: Any) -> bool:
    library = _library(X)
    if library == "awkward":
        layout = _layout(X)
        return bool(layout.is_list or (layout.is_numpy and layout.purelist_depth > 1))
    return is_nested(X)


def _fields(X: Any) -> dict[str, Any] | None:
    """The columns of records by their names; None where X holds none."""
    library = _library(X)
    if library == "polars" and str(X.dtype).startswith("Struct"):
        return {name: X.struct.field(name) for name in X.struct.fields}
    if library == "pyarrow" and str(X.type).startswith("struct"):
        return {field.name: part for field, part in zip(X.type, X.flatten(), strict=True)}
    if library == "awkward" and _layout(X).is_record:
        layout = _layout(X)
        return dict(zip(layout.fields, layout.contents, strict=True))
    return None


def _lists(X: Any, what: str, steps: HostArray | None = None) -> tuple[HostArray, Any]:
    """The length of each list, and all their elements one after another.

    Where they are themselves the elements of lists, `steps` are the lengths of these.
    """
    library = _library(X)
    if library == "polars":
        X = X.arr.to_list() if str(X.dtype).startswith("Array") else X
        missing, elements = X.is_null().to_numpy(), X.explode()
        lengths = X.list.len().fill_null(1).to_numpy()
    elif library == "pyarrow":
        X = X.combine_chunks() if hasattr(X, "combine_chunks") else X
        missing = np.asarray(X.is_null())
        lengths = np.diff(np.asarray(X.offsets)) if hasattr(X, "offsets") else np.full(len(X), X.type.list_size)
        elements = X.flatten()
    else:
        layout = _layout(X)
        if layout.is_option:
            missing = np.asarray(layout.mask_as_bool(valid_when=False))
            lengths, elements = np.ones(len(layout), dtype=np.int64), None
        elif layout.is_numpy:
            data = np.asarray(layout.data)
            missing, lengths = np.zeros(len(data), dtype=bool), np.full(len(data), data.shape[1])
            elements = layout.to_RegularArray().content
        elif layout.is_list:
            missing = np.zeros(len(layout), dtype=bool)
            elements = layout.content
            regular = not hasattr(layout, "offsets")
            lengths = np.full(len(layout), layout.size) if regular else np.diff(np.asarray(layout.offsets.data))
        else:
            raise TypeError(f"{what} holds {layout.form.type}, where lists of numbers are expected.")
    if missing.any() and steps is not None:
        k = int(np.argmax(missing))
        row = int(np.searchsorted(np.cumsum(steps), k, side="right"))
        raise ValueError(
            f"step {k - int(steps[:row].sum())} of row {row} of {what} is missing: fill it, or leave it out."
        )
    if missing.any():
        raise ValueError(f"row {int(np.argmax(missing))} of {what} is missing: leave it and its label out.")
    return np.asarray(lengths).astype(np.int64), elements


def _numbers(X: Any, what: str) -> HostArray:
    """Real numbers, missing ones as NaN."""
    library = _library(X)
    array: HostArray
    if library == "awkward":
        try:
            array = _layout(X).to_backend_array(allow_missing=True)
        except (ValueError, TypeError):
            raise TypeError(f"{what} holds {_layout(X).form.type}, where numbers are expected.") from None
    elif library == "pyarrow":
        array = X.to_numpy(zero_copy_only=False)
    else:
        array = X.to_numpy()
    if isinstance(array, np.ma.MaskedArray):
        array = np.ma.filled(array.astype(np.float64), np.nan)
    if array.dtype.kind == "O" and all(value is None for value in array.ravel().tolist() if not _is_real(value)):
        array = array.astype(np.float64)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what} holds {array.dtype}, where numbers are expected.")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _is_real(value: Any) -> bool:
    return isinstance(value, (bool, int, float))
