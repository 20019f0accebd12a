"""Batches at the place of the model: rows that lie one after another, as blocks on its device.

On the CPU a block is made when its turn comes. On a GPU the steps of all rows lie there already, and batches are
gathered from them by a table of index numbers, uploaded once for all batches of a pass; or, where they would take too
much of its memory, they stay on the host, and block follows block through pinned memory. A GPU gets the rows of a batch
longest first, which saves sorting them in every layer; on the CPU they stand as they were drawn. What is drawn at
random is the same for a sequence in either order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .backends import Backend
from .batch import Encoded, Lengths
from .encode import UNKNOWN
from .host import HostArray
from .model import Batch, Model
from .namespace import Array
from .series import Series, Texts

SHARE_OF_FREE_MEMORY = 0.5
"""Host data is uploaded whole where it and its encoded steps take at most this share of a device's free memory: the
rest is for what training keeps of a batch."""


class Ready(NamedTuple):
    """A batch, and which rows it holds."""

    rows: HostArray  # row numbers, in the order of the batch
    places: Any  # the same on the model's device; None on the CPU
    batch: Batch


class Feed:
    """Encoded rows, on their way into a model.

    Parameters
    ----------
    model
        Whose device the batches are for.
    data
        On the host, or on that device.
    """

    def __init__(self, model: Model, data: Encoded) -> None:
        self._model, self._data, self._backend = model, data, model.backend
        self._arrived = not self._backend.on_host and self._backend.owns(data.steps)
        self._conveyor: Any = None  # made when it is needed

    def batches(
        self, chosen: Sequence[HostArray], token_dropout: float = 0.0, rng: np.random.Generator | None = None
    ) -> Iterator[Ready]:
        """A batch of each of the `chosen` row numbers, inside the context of the model's device.

        What `rng` is asked for is asked when a batch's turn comes: it makes a part of its tokens unknown.
        """
        if not self._model.architecture.tokens or rng is None:
            token_dropout = 0.0
        if self._backend.on_host:
            for rows in chosen:
                block, lengths = self._data.padded(rows)
                if token_dropout:
                    self._backend.put(block, rng.random(block.shape) < token_dropout, UNKNOWN)  # type: ignore[union-attr]
                yield Ready(rows, None, self._batch(block, lengths, None))
            return
        planned = [self._longest_first(rows) for rows in chosen]
        every = np.concatenate([rows for rows, _ in planned])
        # One upload for the whole pass: which rows, where each begins, how long each is.
        table = self._backend.from_host(np.stack([every, self._data.starts[every], self._data.lengths[every]]))
        ends = np.cumsum([len(rows) for rows, _ in planned]).tolist()
        parts = [slice(end - len(rows), end) for (rows, _), end in zip(planned, ends, strict=True)]
        blocks = self._gathered(planned, parts, table) if self._arrived else self._conveyed(planned)
        for (rows, drawn), part, block in zip(planned, parts, blocks, strict=True):
            if token_dropout:
                unknown = rng.random(block.shape) < token_dropout  # type: ignore[union-attr]
                self._backend.put(block, unknown if drawn is None else unknown[drawn], UNKNOWN)
            lengths = Lengths(self._data.lengths[rows].tolist(), table[2, part])
            yield Ready(rows, table[0, part], self._batch(block, lengths, drawn))

    def _longest_first(self, rows: HostArray) -> tuple[HostArray, Any]:
        """Rows in the order of a GPU, and where each stood before; None where none has moved."""
        lengths = self._data.lengths[rows]
        if (lengths[1:] <= lengths[:-1]).all():
            return rows, None
        order = np.argsort(-lengths, kind="stable")
        return rows[order], order

    def _gathered(self, planned: list[Any], parts: list[slice], table: Array) -> Iterator[Array]:
        for (rows, _), part in zip(planned, parts, strict=True):
            time = int(self._data.lengths[rows[0]])
            yield self._backend.gather(self._data.steps, table[1, part], table[2, part], time)

    def _conveyed(self, planned: list[Any]) -> Iterator[Array]:
        """Blocks made on the host: each sets out before the one in front of it is computed."""
        if self._conveyor is None:
            self._conveyor = self._backend.conveyor()
        conveyor, waiting = self._conveyor, None
        try:
            for rows, _ in planned:
                sent = self._send(rows)
                if waiting is not None:
                    yield conveyor.arrived(waiting)
                waiting = sent
            yield conveyor.arrived(waiting)
        finally:
            conveyor.finish()

    def _send(self, rows: HostArray) -> Any:
        steps, starts = self._data.steps, self._data.starts[rows]
        index = starts[:, None] + np.arange(int(self._data.lengths[rows[0]]))  # (N, T)

        def fill(block: HostArray) -> None:
            np.take(steps, index, axis=0, out=block, mode="clip")  # any other mode would fill a copy first

        return self._conveyor.send((*index.shape, *steps.shape[1:]), steps.dtype, fill)

    def _batch(self, block: Array, lengths: list[int], drawn: Any) -> Batch:
        if self._model.architecture.tokens:
            return Batch(None, block, lengths, drawn)
        return Batch(block, None, lengths, drawn)


def whole(model: Model, data: Encoded) -> Batch:
    """All rows of small data as one batch on the model's device, in their order: parts of a stream, rows of a check."""
    if model.backend.on_host or not model.backend.owns(data.steps):
        block, lengths = data.padded(np.arange(len(data.lengths)))
        block = model.backend.adopt(block)
    else:
        lengths = data.lengths.tolist()
        with model.backend.current():
            if len(lengths) == 1:
                block = data.steps[None, ...]
            else:
                table = model.backend.from_host(np.stack([data.starts, data.lengths]))
                block = model.backend.gather(data.steps, table[0, :], table[1, :], max(lengths))
    return Batch(None, block, lengths) if model.architecture.tokens else Batch(block, None, lengths)


def near(data: Series | Texts, backend: Backend, dtype: str, gaps: bool = False) -> Series | Texts:
    """`data` with its numbers, as they were read, on a model's device, where they fit there; else as it is.

    So a GPU scales them, and the scaling is the same whether they were uploaded or lay there already.

    Parameters
    ----------
    dtype
        Of the model: what the encoded steps will take.
    gaps
        Whether numbers may be missing, so that a step takes twice as many: see `xlstm.encode.Scaler`.
    """
    if backend.on_host or data.place is not None or isinstance(data, Texts):
        return data
    size = data.steps.shape[0] * data.features
    if not _fits(size * (data.dtype.itemsize + np.dtype(dtype).itemsize * (1 + gaps)), backend):
        return data
    return data._replace(steps=backend.upload(data.values), place=backend)


def steps_near(data: Encoded, backend: Backend) -> Encoded:
    """`data` with its steps on a model's device, where they fit there; else as it is."""
    if backend.owns(data.steps) or not _fits(data.steps.nbytes, backend):
        return data
    return data._replace(steps=backend.upload(data.steps))


def _fits(needed: int, backend: Backend) -> bool:
    return needed <= SHARE_OF_FREE_MEMORY * backend.free_bytes()
