"""Sequences as they are read: all steps of all of them one after another, and the length of each.

Numeric ones are those of the user's own arrays, which are never written to, until a model's encoder makes its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from . import blocks, ondevice
from .backends import Backend
from .host import HostArray
from .names import Names
from .namespace import Array


class Series(NamedTuple):
    """Numeric sequences."""

    steps: Array | blocks.Separate  # (sum of the lengths, D), on the host of any real type; on a device floating
    lengths: HostArray  # (n,), int64
    columns: int | None  # the number of columns, where X was a two-dimensional (n, time): else None
    names: Names | None = None  # of those columns, or else of the features
    table: bool = False  # whether X was one array or data frame, (n, time)
    place: Backend | None = None  # on whose device the steps lie; None for the host

    @property
    def values(self) -> Array:
        """All steps in one array, float32 or float64: made anew where the host has none of them yet."""
        return self.steps if self.place is not None else blocks.joined(self.steps)

    @property
    def features(self) -> int:
        """D."""
        return int(self.steps.shape[1])

    @property
    def dtype(self) -> Any:
        """Of `values`."""
        return self.steps.dtype if self.place is not None else blocks.read_as(self.steps.dtype)

    def reordered(self, order: list[int], names: Names) -> Series:
        """Its features in another order, as a copy, with their names."""
        steps: Any = self.steps
        moved = blocks.reordered(steps, order) if self.place is None else steps[:, order]
        return self._replace(steps=moved, names=names)

    def blocks(self) -> Iterator[HostArray]:
        """Of host data all values, (s, D) at a time, each good until the next is asked for."""
        return blocks.blocks(self.steps, self.lengths)


class Texts(NamedTuple):
    """Sequences of tokens, not yet numbered."""

    tokens: str | list[str] | Array  # all characters in one string; all words in a list; or all integers
    lengths: HostArray  # (n,), int64
    kind: str  # "characters", "words" or "integers"
    place: Backend | None = None  # on whose device integers lie; None for the host


def to_host(data: Series | Texts) -> Series | Texts:
    """The same on the host: what lies on a device comes in one transfer."""
    if data.place is None:
        return data
    return data._replace(**{data._fields[0]: data.place.to_host(data[0])}, place=None)


def take(data: Series | Texts, rows: HostArray) -> Series | Texts:
    """These rows of the whole, where it lies. Numbers on the host are not copied."""
    if np.array_equal(rows, np.arange(len(data.lengths))):
        return data
    lengths, starts = data.lengths[rows], np.cumsum(data.lengths) - data.lengths
    if data.place is not None:
        with data.place.current():
            index = ondevice.steps_of(data.place, starts[rows], lengths)
            chosen = data.place.namespace.take(data[0], index, axis=0)  # steps or tokens
        return data._replace(**{data._fields[0]: chosen}, lengths=lengths)
    if isinstance(data, Series):
        return data._replace(steps=blocks.taken(data.steps, data.lengths, rows), lengths=lengths)
    parts: list[Any] = [data.tokens[starts[k] : starts[k] + data.lengths[k]] for k in rows]
    tokens: Any
    if data.kind == "characters":
        tokens = "".join(parts)
    elif data.kind == "words":
        tokens = [token for part in parts for token in part]
    else:
        tokens = np.concatenate(parts)
    return data._replace(tokens=tokens, lengths=lengths)


def parts(data: Series | Texts, numbers: int) -> Iterator[tuple[slice, Series | Texts]]:
    """Host data, some rows at a time: which, and these rows, of so many numbers or tokens or of one row."""
    width = data.features if isinstance(data, Series) else 1
    if int(data.lengths.sum()) * width <= numbers:
        yield slice(0, len(data.lengths)), data
        return
    begin, whole = 0, data[0]  # steps or tokens
    some: Any
    for rows in blocks.cuts(data.lengths, max(1, numbers // width)):
        lengths = data.lengths[rows]
        end = begin + int(lengths.sum())
        some = whole[rows] if isinstance(whole, blocks.Separate) else whole[begin:end]
        yield rows, data._replace(**{data._fields[0]: some}, lengths=lengths)
        begin = end
