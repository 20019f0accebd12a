"""The buffer through which the rows of data go that memory does not hold: batches in, parts to train on out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np

from . import feed
from .backends import Backend
from .host import HostArray
from .labels import callers_level
from .sources import READ_ONCE, Batches
from .tasks import Task
from .train import Labelled


class Buffer:
    """A `train.Source` of batches, of which it holds some rows at a time.

    Where the buffer is full, some of its rows, drawn at random, are the next part, and half of it stays: so rows mix
    with those that come after them. A part is a number of whole batches of training, so that a pass has as many of
    these as one over all rows at once. To be measured the rows are taken as they come.

    Parameters
    ----------
    batches
        Where they come from.
    read
        Of a pass over batches, each as encoded rows on the host, with their targets and weights.
    task
        Whose targets they are.
    rows
        How many a pass is expected to give.
    batch_size
        Of the training.
    backend
        The model's: where a part is brought to, if it fits there.
    weighted
        Whether not all rows weigh alike.

    Raises
    ------
    ValueError
        If the buffer is too small for the batches.
    """

    def __init__(
        self,
        batches: Batches,
        read: Callable[[Batches], Iterator[Labelled]],
        task: Task,
        rows: int,
        batch_size: int,
        backend: Backend,
        weighted: bool,
    ) -> None:
        if batches.buffer < min(rows, 2 * batch_size):
            raise ValueError(
                f"buffer={batches.buffer} rows cannot be mixed, where a batch of training has {batch_size}: it must "
                f"hold two of them or more, {2 * batch_size}, or set batch_size."
            )
        self.rows, self.weighted = rows, weighted
        self._batches, self._read, self._task, self._backend = batches, read, task, backend
        self._batch_size, self._counted, self._has_warned = batch_size, rows, False

    def parts(self, rng: np.random.Generator | None) -> Iterator[Labelled]:
        """All rows once: see `train.Source`.

        Raises
        ------
        ValueError
            If the batches give nothing any more.

        Warns
        -----
        UserWarning
            Once, if they give another number of rows than the first time.
        """
        held: list[Labelled] = []
        here = given = 0
        for some in self._read(self._batches):
            held.append(some)
            here += len(some.weights)
            given += len(some.weights)
            if here <= self._batches.buffer:
                continue
            if rng is None:
                yield self._near(self._joined(held))
                held, here = [], 0
                continue
            joined, order = self._joined(held), rng.permutation(here)
            held = []
            leave = max(1, (here - self._batches.buffer // 2) // self._batch_size) * self._batch_size
            yield self._near(self._rows(joined, order[:leave]))
            rest = self._rows(joined, order[leave:])
            held, here = [rest._replace(data=rest.data.alone())], len(rest.weights)
            del joined, rest
        if here:
            yield self._near(self._joined(held))
        self._check(given)

    def _joined(self, held: list[Labelled]) -> Labelled:
        if len(held) == 1:
            return held[0]
        return Labelled(
            held[0].data.joined([some.data for some in held]),
            self._task.joined([some.targets for some in held]),
            np.concatenate([some.weights for some in held]),
        )

    def _rows(self, some: Labelled, rows: HostArray) -> Labelled:
        rows = np.sort(rows)
        return Labelled(some.data.rows(rows), self._task.take(some.targets, rows), some.weights[rows])

    def _near(self, part: Labelled) -> Labelled:
        if self._backend.on_host:
            return part
        return part._replace(data=feed.steps_near(part.data.alone(), self._backend))

    def _check(self, given: int) -> None:
        if not given:
            raise ValueError(f"the batches gave nothing when they were read again: their iterator {READ_ONCE}.")
        if given != self._counted and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"the batches gave {given} rows in one pass and {self._counted} in another: scores and the schedule go "
                "by what they give, and by what they gave at first.",
                stacklevel=callers_level(),
            )
