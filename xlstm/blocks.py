"""The numbers of sequences on the host, some at a time: to check and to scale them needs no copy of them all.

They may be a caller's own arrays, of any real type: nothing here writes to them. What is read is float32, if all of
them are, or else float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .host import HostArray

BLOCK = 2**16
"""How many numbers are read at once: few enough that what is made of them stays in a core's own cache, and so many that
the calls of NumPy cost little beside their work."""


class Separate:
    """Numeric sequences in arrays of their own, which are brought together some at a time.

    Parameters
    ----------
    rows
        Of each an array (time_i, D), or (time_i,) where there is one feature, of real numbers.
    lengths : (n,) int64
        The time_i.

    Attributes
    ----------
    shape : (int, int)
        (S, D): the sum of the lengths, and the features.
    dtype
        As what they are read. Some of them are read as all are.
    """

    def __init__(self, rows: Sequence[HostArray], lengths: HostArray, dtype: Any = None) -> None:
        self.rows, self.lengths = rows, lengths
        self.shape = (int(lengths.sum()), 1 if rows[0].ndim == 1 else rows[0].shape[1])
        self.dtype = np.result_type(*{read_as(row.dtype) for row in rows}) if dtype is None else np.dtype(dtype)

    def __getitem__(self, rows: slice) -> Separate:
        """Some that follow each other: the same arrays."""
        return Separate(self.rows[rows], self.lengths[rows], self.dtype)

    def together(self, rows: slice, room: HostArray | None = None) -> HostArray:
        """Some that follow each other, as (s, D): in `room` (·,) or a new array, but of one alone itself."""
        some, D = self.rows[rows], self.shape[1]
        if len(some) == 1:
            return some[0].reshape(-1, D)
        count = int(self.lengths[rows].sum())
        flat = np.empty(count * D, self.dtype) if room is None else room[: count * D]
        with np.errstate(over="ignore"):  # infinity is refused later, with its row
            np.concatenate(some, out=flat if some[0].ndim == 1 else flat.reshape(count, D), casting="unsafe")
        return flat.reshape(count, D)


Steps = HostArray | Separate
"""All steps of all sequences, (S, D), of any real type."""


def read_as(dtype: Any) -> np.dtype[Any]:
    """As what numbers of a real type are read."""
    return np.dtype(np.float32 if dtype == np.float32 else np.float64)


def joined(steps: Steps) -> HostArray:
    """All of them in one array, as they are read; itself where it is one."""
    return _read(steps.together(slice(None)) if isinstance(steps, Separate) else steps)


def rows_of(steps: Steps, lengths: HostArray) -> Sequence[HostArray]:
    """The numbers of each sequence as they are, without a copy."""
    if isinstance(steps, Separate):
        return steps.rows
    ends = np.cumsum(lengths)
    return [steps[start:end] for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)]


def taken(steps: Steps, lengths: HostArray, rows: HostArray) -> Separate:
    """These rows, without a copy."""
    if isinstance(steps, Separate):
        return Separate([steps.rows[k] for k in rows.tolist()], lengths[rows], steps.dtype)
    ends = np.cumsum(lengths)[rows]
    starts = ends - lengths[rows]
    some = [steps[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return Separate(some, lengths[rows], read_as(steps.dtype))


def reordered(steps: Steps, order: list[int]) -> Steps:
    """Features in this order, as a copy."""
    if isinstance(steps, Separate):
        return Separate([row[:, order] for row in steps.rows], steps.lengths, steps.dtype)
    return steps[:, order]


def cuts(lengths: HostArray, steps: int) -> Iterator[slice]:
    """All rows, some at a time: as many as have together at most so many steps, or one."""
    ends = np.cumsum(lengths)
    start = 0
    while start < len(ends):
        begin = int(ends[start] - lengths[start])
        stop = max(start + 1, int(np.searchsorted(ends, begin + steps, side="right")))
        yield slice(start, stop)
        start = stop


def groups(steps: Steps, lengths: HostArray) -> Iterator[tuple[slice, HostArray]]:
    """Whole sequences, some at a time: which, and their numbers (s, D), each good until the next are asked for."""
    for rows, numbers in _groups(steps, lengths):
        yield rows, _read(numbers)


def blocks(steps: Steps, lengths: HostArray) -> Iterator[HostArray]:
    """All numbers, (s, D) at a time, however long a sequence is: each good until the next are asked for."""
    for _, numbers in _groups(steps, lengths):
        for part in _parts(numbers):
            yield _read(part)


def all_finite(steps: HostArray) -> bool:
    """Whether all numbers of (S, D) are finite."""
    return all(np.isfinite(part).all() for part in _parts(steps))


def _groups(steps: Steps, lengths: HostArray) -> Iterator[tuple[slice, HostArray]]:
    """At most a block at a time, or one sequence, which may be of another type than it is read as."""
    D, begin = steps.shape[1], 0
    some = max(1, BLOCK // D)
    room = np.empty(min(some, steps.shape[0]) * D, steps.dtype) if isinstance(steps, Separate) else None
    for rows in cuts(lengths, some):
        if isinstance(steps, Separate):
            yield rows, steps.together(rows, room)
        else:
            end = begin + int(lengths[rows].sum())
            yield rows, steps[begin:end]
            begin = end


def _parts(numbers: HostArray) -> Iterator[HostArray]:
    some = max(1, BLOCK // numbers.shape[1])
    return (numbers[start : start + some] for start in range(0, len(numbers), some))


def _read(numbers: HostArray) -> HostArray:
    with np.errstate(over="ignore"):
        return numbers.astype(read_as(numbers.dtype), copy=False)
