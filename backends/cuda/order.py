"""The lengths of a batch, sorted once for all layers, directions and levels that run it; and its walk, step by step."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np


class Order:
    """The rows of a batch, longest first.

    Parameters
    ----------
    cupy
        The module `cupy`.
    lengths
        Of each row, checked, at least one below `time`. Where they have the attribute `on_device`, it is the same as an
        int64 array (N,) on the current device, and nothing is uploaded.
    time
        T.

    Attributes
    ----------
    lengths : list of int
        As given.
    rows, time, steps : int
        N, T, and the greatest length.
    active : list of int
        For each of the steps, how many rows still run: the first so many, longest first.
    starts : list of int
        How many steps all rows together have before each of the steps, and at last in all: where the rows of a step
        begin when all that is valid stands step by step.
    is_sorted : bool
        Whether the rows came longest first, so that no row changes its place.
    """

    def __init__(self, cupy: Any, lengths: list[int], time: int) -> None:
        self._cupy = cupy
        self.lengths, self.rows, self.time, self.steps = list(lengths), len(lengths), time, max(lengths)
        self._given = getattr(lengths, "on_device", None)
        self.is_sorted = all(a >= b for a, b in zip(self.lengths, self.lengths[1:], strict=False))
        ends = np.bincount(
            np.asarray(self.lengths), minlength=self.steps + 1
        ).tolist()  # how many rows have each length
        self.active = [self.rows - ended for ended in accumulate(ends[: self.steps])]
        self.starts = [0, *accumulate(self.active)]

    @property
    def is_even(self) -> bool:
        """Whether all rows are as long as the longest."""
        return self.active[-1] == self.rows

    @cached_property
    def _table(self) -> Any:
        """(3, N) int64 on the device, uploaded at once: the lengths as given; sorted; the row of each sorted place."""
        host = np.asarray(self.lengths, dtype=np.int64)
        rows = np.argsort(-host, kind="stable")
        return self._cupy.asarray(np.stack([host, host[rows], rows]))

    @property
    def on_device(self) -> Any:
        """The lengths as given, (N,) int64 on the device."""
        return self._given if self._given is not None else self._table[0]

    @property
    def sorted_lengths(self) -> Any:
        """The lengths, longest first, (N,) int64 on the device."""
        return self.on_device if self.is_sorted else self._table[1]

    @property
    def sorted_rows(self) -> Any:
        """Which row of the batch stands in each place, (N,) int64 on the device; None where each is in its own."""
        return None if self.is_sorted else self._table[2]

    @cached_property
    def starts_on_device(self) -> Any:
        """`starts`, (steps + 1,) int64 on the device: from the lengths that are there, so that nothing is uploaded."""
        cupy = self._cupy
        steps = cupy.arange(self.steps + 1, dtype=cupy.int64)
        # A row of this length has had min(length, t) steps before step t.
        return cupy.minimum(self.on_device[:, None], steps[None, :]).sum(axis=0)


def ordered(cupy: Any, lengths: list[int] | Order | None, time: int) -> Order | None:
    """The order of a batch, which may have been made already; None where all rows have all steps."""
    if lengths is None:
        return None
    order = lengths if isinstance(lengths, Order) else Order(cupy, lengths, time)
    return None if order.is_even and order.steps == time else order


class Walk(NamedTuple):
    """The steps of a batch as they are walked."""

    rows: int
    time: int
    reverse: bool
    active: list[int]  # how many rows run in each step
    starts: list[int]  # where they begin, and at last the total
    on_device: tuple[Any, Any, Any]  # rows, lengths and starts, as kernels/steps.cu takes them

    @property
    def steps(self) -> int:
        """Up to the end of the longest row."""
        return len(self.active)

    @property
    def total(self) -> int:
        """R, the valid steps of all rows."""
        return self.starts[-1]


def walk_of(order: Order | None, rows: int, time: int, reverse: bool) -> Walk:
    """The walk of a batch with an order; None: all rows have all steps."""
    if order is None:
        starts = list(range(0, (time + 1) * rows, rows))
        return Walk(rows, time, reverse, [rows] * time, starts, (None, None, None))
    on_device = order.sorted_rows, order.sorted_lengths, order.starts_on_device
    return Walk(rows, time, reverse, order.active, order.starts, on_device)
