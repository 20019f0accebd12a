"""The order of one batch's rows, worked out once a call: lengths, directions, and where padding is.

Inside a cell the rows of a batch are sorted, longest first, and time comes first: (T, N, features). The rows that still
run at step t are then the first `active[t]` ones, so a step is a product over a slice, nothing has to be masked, and
what stands in the padding is never read by the recurrence. All layers and both directions of a call share one `Order`.
"""

from __future__ import annotations

import operator
from typing import Any

from ..namespace import Array, Namespace


def check_lengths(lengths: Any, rows: int, time: int) -> list[int] | None:
    """`lengths` as a list of `rows` Python integers from 1 to `time`, or None where every row is full.

    A list that knows the same as an array, by the attribute `on_device` (`xlstm.batch.Lengths`), stays itself.

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
        if hasattr(lengths, "on_device"):
            values = lengths
        else:
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


class Order:
    """The order of the rows of one batch, and how many of them run at each step.

    Parameters
    ----------
    lengths
        As `check_lengths` returns them: None means that every row has `time` steps.
    rows, time
        N and T of the batch, the padding included.
    device
        Where index arrays have to live.

    Attributes
    ----------
    active : list of int
        For each step up to the longest row, how many rows still run.
    steps : int
        Steps up to the end of the longest row, at most `time`.
    """

    def __init__(self, xp: Namespace, lengths: list[int] | None, rows: int, time: int, device: Any) -> None:
        self.xp, self.rows, self.time = xp, rows, time
        self._lengths, self._device = lengths, device
        self._given = getattr(lengths, "on_device", None)  # as an array (N,), where that is there already
        self._order = self._inverse = self._valid = self._turned = None
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
            descending = self._given if self._order is None else None  # given in this order
            if descending is None:
                descending = xp.asarray([lengths[row] for row in order], device=device)
            self._valid = xp.arange(self.steps, dtype=descending.dtype, device=device)[:, None] < descending[None, :]

    def sort(self, array: Array) -> Array:
        """(N, …) in the order given → (N, …) longest first."""
        return array if self._order is None else self.xp.take(array, self._order, axis=0)

    def unsort(self, array: Array) -> Array:
        """The inverse of `sort`."""
        return array if self._inverse is None else self.xp.take(array, self._inverse, axis=0)

    def time_major(self, array: Array, reverse: bool = False) -> Array:
        """(N, T, …) in the order given → (steps, N, …) longest first, in the order in which they are walked.

        What stands in the padding is still there; it may share memory with `array`.
        """
        array = array[:, : self.steps, ...]
        array = self.sort(self.turned(array) if reverse else array)
        return self.xp.permute_dims(array, (1, 0, *range(2, array.ndim)))

    def without_padding(self, array: Array) -> Array:
        """(steps, N, …) as `time_major` gives it, zero where a row has ended, whatever stood there."""
        if self._valid is None:
            return array
        valid = self._valid if array.ndim == 2 else self._valid[:, :, None]
        return self.xp.where(valid, array, self.xp.zeros_like(array))

    def batch_major(self, array: Array, reverse: bool = False, out: Array | None = None, column: int = 0) -> Array:
        """(steps, N, F) longest first → (N, T, F) in the order given, zero after the longest row's end.

        With `out`, (N, T, ·) and zero there already, the result goes to its columns from `column` on, and `out` is
        returned.
        """
        xp, F = self.xp, array.shape[2]
        in_order = self.unsort(xp.permute_dims(array, (1, 0, 2)))  # (N, steps, F)
        if out is None:
            out = xp.zeros((self.rows, self.time, F), dtype=array.dtype, device=array.device)
            column = 0
        out[:, : self.steps, column : column + F] = self.turned(in_order) if reverse else in_order
        return out

    def turned(self, array: Array) -> Array:
        """Each row's valid steps in reverse order, the padding left in its place: its own inverse, its own gradient.

        `array` is (N, steps, features) or (N, steps); the result has the same shape, and may share memory with it.
        """
        xp = self.xp
        if self._lengths is None:
            return xp.flip(array, axis=1)
        N, T = array.shape[:2]
        if self._turned is None:
            length = xp.asarray(self._lengths, device=self._device) if self._given is None else self._given
            length = length[:, None]  # (N, 1)
            t = xp.arange(T, dtype=length.dtype, device=self._device)[None, :]  # (1, T)
            source = xp.where(t < length, length - 1 - t, t)  # (N, T)
            source += T * xp.arange(N, dtype=length.dtype, device=self._device)[:, None]
            self._turned = xp.reshape(source, (N * T,))
        flat = xp.reshape(array, (N * T, *array.shape[2:]))
        return xp.reshape(xp.take(flat, self._turned, axis=0), array.shape)


def initial_steps(xp: Namespace, order: Order, state: Array | None, width: int, like: Array) -> Array:
    """(steps + 1, N, width) for a state before each step and after the last: the initial one in front, then zeros."""
    states = xp.zeros((order.steps + 1, order.rows, width), dtype=like.dtype, device=like.device)
    if state is not None:
        states[0, :, :] = order.sort(state)
    return states


def transposed(xp: Namespace, weight: Array, steps: int) -> Array:
    """weightᵀ, for products with it at each of `steps` steps."""
    if steps < 8:
        return weight.T
    # From a few steps on a copy pays: BLAS reads rows faster than columns.
    copy = xp.empty((weight.shape[1], weight.shape[0]), dtype=weight.dtype, device=weight.device)
    copy[...] = weight.T
    return copy
