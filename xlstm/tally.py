"""What batches gave: their losses and what scores are made of, summed on the device, and over the parts of a pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from .history import Measured
from .host import HostArray
from .model import Model
from .namespace import Array
from .tasks import Task


class Tally:
    """The loss and the scores of some batches, on the device until all are there.

    Parameters
    ----------
    model, task
        Of which outputs, and what they are to be.
    batches
        The rows of each batch that will come.
    terms
        Of how many terms the loss of each batch is a mean, numbers on the host.
    """

    def __init__(self, model: Model, task: Task, batches: list[HostArray], terms: list[int]) -> None:
        self._backend, self._task = model.backend, task
        self._fast = task.fast_loss(model.backend, model.architecture.dtype, model.requested_kernels)
        self._seen: list[tuple[Any, ...]] = []  # of each batch: its loss and what its scores are made of, each ()
        self._table, self._count, self._terms = None, 0, terms
        if self._fast is not None:  # one table for all, instead of arrays that have to be brought together at the end
            self._table = self._fast.table(len(batches), max(map(len, batches)))

    def add(self, outputs: Array, targets: Any, weights: Array, gradient: bool = True) -> Array:
        """The gradient of the loss of a batch, like its outputs; without `gradient` it may be None."""
        number, self._count = self._count, self._count + 1
        if self._table is not None:
            return self._fast.add(outputs, targets, weights, self._table[number], gradient)
        loss, d_outputs = self._task.loss(outputs, targets, weights)
        self._seen.append((loss * self._terms[number], *self._task.score_sums(outputs, targets)))
        return d_outputs

    def totals(self, in_turn: bool = False) -> HostArray:
        """The sums over all batches, on the host: of the loss times its terms, and of what the scores are made of.

        `in_turn` adds one batch after another, instead of by halves: those of a validation part were always summed so.
        """
        xp = self._backend.namespace
        if self._table is not None:
            sums = xp.sum(self._table, axis=(0, 1))
        elif in_turn:
            sums = xp.sum(xp.stack([xp.stack(list(each)) for each in self._seen]), axis=0)
        else:
            sums = xp.stack([xp.sum(xp.stack(list(column))) for column in zip(*self._seen, strict=True)])
        totals: HostArray = self._backend.to_host(sums)
        return totals


class Seen:
    """The totals of all parts of a pass, on the host."""

    def __init__(self) -> None:
        self._sums: Any = 0.0
        self._terms = 0
        self._weighted: Any = None  # where rows have weights: what the weighted score is made of

    def add(self, totals: HostArray, terms: int, weighted: HostArray | None = None) -> None:
        self._sums = self._sums + totals.astype(np.float64)
        self._terms += terms
        if weighted is not None:
            self._weighted = weighted if self._weighted is None else self._weighted + weighted

    def means(self, task: Task) -> Measured:
        if not self._terms:  # of batches that were others when they were read at first
            raise ValueError("no label of y counts in what was read again: there is nothing to measure.")
        total, *rest = self._sums.tolist()
        loss, scores = total / self._terms, task.scores(rest, self._terms)
        score = None if self._weighted is None else task.weighted_score(self._weighted.tolist(), loss)
        return loss, scores if score is None else {**scores, task.weighted_name: score}
