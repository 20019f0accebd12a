"""Rows of different lengths, in the order that makes padding free.

Inside a cell the rows of a batch are sorted, longest first, and time comes first: (T, N, features). The rows that still
run at step t are then the first `active[t]` ones, so a step is a product over a slice, nothing has to be masked, and
what stands in the padding is never read by the recurrence.
"""

from __future__ import annotations

import operator
from typing import Any

from ..namespace import Array, Namespace


def check_lengths(lengths: Any, rows: int, time: int) -> list[int] | None:
    """`lengths` as a list of `rows` Python integers from 1 to `time`, or None where every row is full.

    Raises
    ------
    TypeError
        If they are not integers on the host.
    ValueError
        If there are not as many as rows, or one is outside 1 to `time`; the row is named.
    """
    if lengths is None:
        return None
    if getattr(lengths, "ndim", 1) != 1:
        raise ValueError(f"lengths must be one-dimensional, ({rows},), got shape {tuple(lengths.shape)}.")
    try:
        if isinstance(lengths, (str, bytes, dict, set, frozenset)):
            raise TypeError("no order, or no numbers")
        # One call for a whole NumPy array; any other sequence goes element by element.
        values = lengths.tolist() if type(lengths).__module__ == "numpy" else list(lengths)
        if set(map(type, values)) != {int}:
            if any(type(value).__name__ in ("bool", "bool_") for value in values):
                raise TypeError("booleans")
            values = [operator.index(value) for value in values]
    except TypeError as error:
        raise TypeError(f"lengths must be integers on the host (a list or a NumPy array), got {lengths!r}.") from error
    if len(values) != rows:
        raise ValueError(f"lengths must hold one integer for each of the {rows} rows, got {len(values)}.")
    if values and (min(values) < 1 or max(values) > time):
        row = next(row for row, value in enumerate(values) if not 1 <= value <= time)
        raise ValueError(f"lengths[{row}] is {values[row]}: expected 1 to {time}, the number of steps of the batch.")
    return None if values and min(values) == time else values


class Rows:
    """The order of the rows of one batch, and how many of them run at each step.

    Parameters
    ----------
    lengths
        As `check_lengths` returns them: None means that every row has `time` steps.
    rows, time
        N and T of the batch, the padding included.
    device
        Where index arrays have to live.
    reverse
        Whether each row is walked from its last valid step to its first.

    Attributes
    ----------
    active : list of int
        For each step up to the longest row, how many rows still run.
    steps : int
        Steps up to the end of the longest row, at most `time`.
    """

    def __init__(
        self, xp: Namespace, lengths: list[int] | None, rows: int, time: int, device: Any, reverse: bool = False
    ) -> None:
        self.xp, self.rows, self.time = xp, rows, time
        self._reverse, self._lengths = reverse, lengths
        self._order = self._inverse = self._valid = None
        if lengths is None:
            self.steps = time
            self.active = [rows] * time
            return
        order = sorted(range(rows), key=lengths.__getitem__, reverse=True)
        self.steps = lengths[order[0]]
        self.active = [rows] * self.steps
        ended_at = [0] * (self.steps + 1)
        for length in lengths:
            ended_at[length] += 1
        for t in range(1, self.steps):
            self.active[t] = self.active[t - 1] - ended_at[t]
        if order != list(range(rows)):
            inverse = [0] * rows
            for position, row in enumerate(order):
                inverse[row] = position
            self._order = xp.asarray(order, device=device)
            self._inverse = xp.asarray(inverse, device=device)
        if self.active[-1] < rows:
            descending = xp.asarray([lengths[row] for row in order], device=device)
            self._valid = xp.arange(self.steps, dtype=descending.dtype, device=device)[:, None] < descending[None, :]

    def sort(self, array: Array) -> Array:
        """(N, …) in the order given → (N, …) longest first."""
        return array if self._order is None else self.xp.take(array, self._order, axis=0)

    def unsort(self, array: Array) -> Array:
        """(N, …) longest first → (N, …) in the order given: the inverse of `sort`, and its gradient."""
        return array if self._inverse is None else self.xp.take(array, self._inverse, axis=0)

    def time_major(self, array: Array) -> Array:
        """(N, T, …) in the order given → (steps, N, …) longest first. The padding is still in it."""
        if self._reverse:
            array = reverse_valid(self.xp, array, self._lengths)
        array = self.sort(array[:, : self.steps, ...])
        return self.xp.permute_dims(array, (1, 0, *range(2, array.ndim)))

    def without_padding(self, array: Array) -> Array:
        """(steps, N, …) with zero where a row has ended, whatever stood there."""
        if self._valid is None:
            return array
        valid = self._valid if array.ndim == 2 else self._valid[:, :, None]
        return self.xp.where(valid, array, self.xp.zeros_like(array))

    def batch_major(self, array: Array) -> Array:
        """(steps, N, F) longest first → a new (N, T, F) in the order given, zero after the longest row's end."""
        xp = self.xp
        batch = xp.zeros((self.rows, self.time, array.shape[2]), dtype=array.dtype, device=array.device)
        batch[:, : self.steps, :] = self.unsort(xp.permute_dims(array, (1, 0, 2)))
        return reverse_valid(xp, batch, self._lengths) if self._reverse else batch


def initial_steps(xp: Namespace, rows: Rows, state: Array | None, like: Array) -> Array:
    """(steps + 1, N, H) for a state before each step and after the last: the initial one in front, then zeros."""
    states = xp.zeros((rows.steps + 1, rows.rows, like.shape[1]), dtype=like.dtype, device=like.device)
    if state is not None:
        states[0, :, :] = rows.sort(state)
    return states


def transposed(xp: Namespace, weight: Array, steps: int) -> Array:
    """weightᵀ, for products with it at each of `steps` steps."""
    if steps < 8:
        return weight.T
    # From a few steps on a copy pays: BLAS reads rows faster than columns.
    copy = xp.empty((weight.shape[1], weight.shape[0]), dtype=weight.dtype, device=weight.device)
    copy[...] = weight.T
    return copy


def reverse_valid(xp: Namespace, array: Array, lengths: list[int] | None) -> Array:
    """Each row's valid steps in reverse order, the padding left in its place: its own inverse and its own gradient.

    `array` is (N, T, features) or (N, T); the result has the same shape, and may share memory with `array`.
    """
    if lengths is None:
        return xp.flip(array, axis=1)
    rows, time = array.shape[:2]
    length = xp.asarray(lengths, device=array.device)[:, None]  # (N, 1)
    t = xp.arange(time, dtype=length.dtype, device=array.device)[None, :]  # (1, T)
    source = xp.where(t < length, length - 1 - t, t)  # (N, T)
    source += time * xp.arange(rows, dtype=length.dtype, device=array.device)[:, None]
    flat = xp.reshape(array, (rows * time, *array.shape[2:]))
    return xp.reshape(xp.take(flat, xp.reshape(source, (rows * time,)), axis=0), array.shape)
