"""Batches of sequences of similar length, so that padding costs little; their order comes from the seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .backends import numpy_arrays
from .host import HostArray
from .namespace import Array

POOL_BATCHES = 16
"""Number of batches whose rows are drawn at random together, sorted by length and cut up again: enough of them that the
rows of a batch have about one length, and few enough that they are other rows in each epoch."""


MAX_STEPS = 2**16
"""Steps of a batch, the padding included, that take little memory: so many are never parted to save some."""
MOST_STEPS = 2**20
"""Steps that training computes at once: a batch of more is parted, however little of it is padding."""


class Lengths(list[int]):
    """The lengths of a batch on a device, which has them too: so that nothing asks the host for them again.

    Attributes
    ----------
    on_device : (N,) int64
        The same.
    """

    def __init__(self, lengths: Iterable[int], on_device: Array) -> None:
        super().__init__(lengths)
        self.on_device = on_device


class Encoded(NamedTuple):
    """Encoded sequences, one after another: on the host, or their steps on a device.

    Where every step has an answer, targets and outputs stand in the same form.
    """

    steps: Array  # (sum of the lengths, D) features, or (sum of the lengths,) token numbers
    lengths: HostArray  # (n,)
    starts: HostArray  # (n,): where each begins

    @classmethod
    def of(cls, steps: Array, lengths: HostArray) -> Encoded:
        return cls(steps, lengths, np.cumsum(lengths) - lengths)

    def rows(self, rows: HostArray) -> Encoded:
        """These rows; the steps are shared."""
        return Encoded(self.steps, self.lengths[rows], self.starts[rows])

    @classmethod
    def joined(cls, parts: Sequence[Encoded]) -> Encoded:
        """Several, one after another, on the host. Their steps are copied."""
        return cls.of(np.concatenate([part.steps for part in parts]), np.concatenate([part.lengths for part in parts]))

    def alone(self) -> Encoded:
        """The same rows with a copy of their steps, and of no other's: on the host."""
        ends = np.cumsum(self.lengths)
        shift = np.repeat(self.starts - (ends - self.lengths), self.lengths)
        return Encoded.of(self.steps[np.arange(len(shift)) + shift], self.lengths)

    def padded(self, rows: HostArray) -> tuple[HostArray, list[int]]:
        """These rows as one block on the host, (N, T, D) or (N, T), T the greatest length; and their lengths.

        The padding after a row is not zero: it is whatever follows the row in `steps`, and nothing reads it.
        """
        lengths = self.lengths[rows]
        block = numpy_arrays.BACKEND.gather(self.steps, self.starts[rows], lengths, int(lengths.max()))
        return block, lengths.tolist()


def size_for(rows: int, wanted: int | str) -> int:
    """The batch size for data of `rows` rows: as wanted, or for "auto" a 128th of the rows, from 32 to 256."""
    return min(rows, max(32, min(256, rows // 128)) if isinstance(wanted, str) else wanted)


def shuffled(lengths: HostArray, batch_size: int, rng: np.random.Generator) -> list[HostArray]:
    """Every row once, in batches of at most `batch_size` rows of similar length, in random order."""
    order = rng.permutation(len(lengths))
    # Two pools at least: one of all rows would give the same batches in every epoch.
    half = -(-len(order) // batch_size) // 2
    size = min(POOL_BATCHES, max(1, half)) * batch_size
    batches = []
    for start in range(0, len(order), size):
        pool = order[start : start + size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[k : k + batch_size] for k in range(0, len(pool), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches))]


def pieces(lengths: HostArray, rows: HostArray) -> list[HostArray]:
    """A batch's `rows`, shortest first as `shuffled` gives them, in as few parts as their padding asks for.

    Of a part that has more than `MAX_STEPS` steps, the padding included, at most half are padding, and it has at most
    `MOST_STEPS`; but a row alone may be as long as it is. So one long row among short ones is computed alone, and
    memory goes with the steps that are there. Mostly that is one part: all of them, as they are.
    """
    if len(rows) * int(lengths[rows[-1]]) <= MAX_STEPS:
        return [rows]
    found, start, valid = [], 0, 0
    for k, length in enumerate(lengths[rows].tolist()):
        valid += length
        if length * (k + 1 - start) > max(MAX_STEPS, min(2 * valid, MOST_STEPS)) and k > start:
            found.append(rows[start:k])
            start, valid = k, length
    return [*found, rows[start:]]


def by_length(lengths: HostArray, max_steps: int = MAX_STEPS) -> Iterator[HostArray]:
    """Every row once, longest first, in batches of at most `max_steps` steps, the padding included: for prediction."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, max_steps // int(lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def stratified_split(labels: HostArray, fraction: float, rng: np.random.Generator) -> tuple[HostArray, HostArray]:
    """Row numbers of two parts, the second with `fraction` of the rows (rounded up) and each class in its proportion.

    Every class keeps at least one row in the first part.

    Parameters
    ----------
    labels
        (n,) integers from 0 on.

    Raises
    ------
    ValueError
        If there are too few rows for two parts.
    """
    n = len(labels)
    counts = np.bincount(labels)
    wanted = int(np.ceil(n * fraction))
    if wanted > n - np.count_nonzero(counts):
        raise ValueError(f"{n} rows of {len(counts)} classes are too few to set {wanted} of them aside.")
    # The largest remainders get the rows that rounding down leaves over.
    share = counts * (wanted / n)
    take = np.minimum(np.floor(share), np.maximum(counts - 1, 0)).astype(np.int64)
    while take.sum() < wanted:
        room = take < counts - 1
        take[np.argmax(np.where(room, share - take, -np.inf))] += 1
    second = np.concatenate([rng.permutation(np.flatnonzero(labels == k))[: take[k]] for k in range(len(counts))])
    chosen = np.zeros(n, dtype=bool)
    chosen[second] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
