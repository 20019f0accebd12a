"""Small unkind problems for what trains on a GPU beside the cells: what an implementation gives, and what is right.

Each function yields the name of a result, what was given and what is right, as host arrays. They run inside the
backend's context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import losses, optim
from .backends import Backend

Results = Iterator[tuple[str, Any, Any]]

COUNT = 2085
"""Of parameters: several blocks of every kernel, the last one not full."""


def step(ours: Any, backend: Backend, dtype: str) -> Results:
    """Two updates of each solver: without clipping, or with a norm that is never reached; and with clipping."""
    rng, xp = np.random.default_rng(3), backend.namespace
    scales = 10.0 ** rng.integers(-3, 2, COUNT)
    first, *slopes = (rng.normal(0, size, COUNT) * scales for size in (0.1, 1, 1))
    begin, decayed, *slopes = (
        backend.from_host(values.astype(dtype)) for values in (first, rng.integers(0, 2, COUNT), *slopes)
    )
    norm = float(np.linalg.norm(scales))  # about that of the gradients
    for solver in optim.SOLVERS:
        limits = (100 * norm if solver == "adam" else None, norm / 3)
        ends = []
        for fast in (ours, None):
            optimizer = optim.Optimizer(begin, decayed, solver, alpha=0.1, epsilon=0.01)
            optimizer.fast = fast
            parameters = xp.asarray(begin, copy=True)
            for gradients, max_norm in zip(slopes, limits, strict=True):
                optimizer.step(parameters, xp.asarray(gradients, copy=True), 0.1, max_norm)
            ends.append(backend.to_host(xp.stack([parameters, *optimizer.moments])))
        for name, got, expected in zip(("parameters", "first moment", "second moment"), *ends, strict=False):
            yield f"{name} ({solver})", got, expected


def logistic(ours: Any, backend: Backend, dtype: str) -> Results:
    """One row, and three blocks of them."""
    for rows in (1, 131):
        yield from _loss(ours, losses.logistic_cross_entropy, backend, dtype, (rows, 1))


def softmax(ours: Any, backend: Backend, dtype: str) -> Results:
    """One row, and three blocks of them, of more classes than there are threads for a row."""
    for shape in ((1, 3), (19, 37)):
        yield from _loss(ours, losses.softmax_cross_entropy, backend, dtype, shape)


def _loss(ours: Any, right: Callable[..., Any], backend: Backend, dtype: str, shape: tuple[int, int]) -> Results:
    (N, K), rng = shape, np.random.default_rng(4)
    logits = rng.normal(0, 5, shape)
    logits[0] *= 40  # their exponentials overflow float32
    labels, weights = rng.integers(0, max(K, 2), N), rng.uniform(0.2, 2, N)
    outputs, own = (backend.from_host(values.astype(dtype)) for values in (logits, weights))
    targets, table = backend.from_host(labels), ours.table(2, N)
    gradient = ours.add(outputs, targets, own, table[1, ...])
    ours.add(outputs, targets, own, table[0, ...], False)
    loss, expected = right(outputs, targets, own)
    predicted = np.argmax(logits, axis=1) if K > 1 else logits[:, 0] > 0
    sums = [float(backend.to_host(loss)) * N, np.count_nonzero(predicted == labels)]
    yield f"gradient (N={N}, K={K})", backend.to_host(gradient), backend.to_host(expected)
    yield f"sums (N={N}, K={K})", backend.to_host(table).sum(axis=1), np.array([sums, sums])


def add_rows(ours: Any, backend: Backend, dtype: str) -> Results:
    """Ids that come again, in no order, and that are no rows; a table sorted for in one pass and in two."""
    rng = np.random.default_rng(5)
    for V, G, K, direct in ((7, 33, 300, 7), (50, 2, 70, 5)):
        table, rows, ids = rng.normal(size=(V, G)), rng.normal(size=(K, G)), rng.integers(-2, V + 2, K)
        table, rows = table.astype(dtype), rows.astype(dtype)
        expected, there = table.astype(np.float64), (ids >= 0) & (ids < V)
        np.add.at(expected, ids[there], rows[there])
        target = backend.from_host(table)
        ours.add(target, backend.from_host(ids), backend.from_host(rows), direct=direct)
        yield f"sums (table {V} x {G}, {K} ids)", backend.to_host(target), expected


def gather(ours: Any, backend: Backend, dtype: str) -> Results:
    """Ragged rows in no order, of one number a step and of several."""
    rng, time = np.random.default_rng(6), 9
    lengths = np.array([4, 9, 1, 9, 2, 7, 3])
    starts = rng.permutation(60)[: len(lengths)]
    for shape in ((70,), (70, 11)):
        steps = rng.integers(1, 99, shape).astype(dtype)
        expected = np.zeros((len(lengths), time, *shape[1:]), dtype)
        for block, start, length in zip(expected, starts, lengths, strict=True):
            block[:length] = steps[start : start + length]
        block = ours.gather(*map(backend.from_host, (steps, starts, lengths)), time)
        yield f"block of steps {shape}", backend.to_host(block), expected


def masks(ours: Any, backend: Backend, dtype: str) -> Results:
    """Such as do not begin with a byte or a word, and end with none."""
    rng = np.random.default_rng(7)
    kept = [rng.random(shape) < 0.6 for shape in ((3, 5), (7,), (2, 3, 47))]
    for mask, got in zip(kept, ours.masks(kept, 1.25, dtype), strict=True):
        yield f"mask {mask.shape}", backend.to_host(got), mask * np.asarray(1.25, dtype)


def put(ours: Any, backend: Backend, dtype: str) -> Results:
    """Of several words, the last one not full."""
    rng = np.random.default_rng(8)
    host, where = rng.integers(0, 9, (5, 59)), rng.random((5, 59)) < 0.4
    ids = backend.from_host(host)
    ours.put(ids, where, 11)
    yield "ids", backend.to_host(ids), np.where(where, 11, host)


TRIALS: dict[str, Callable[[Any, Backend, str], Results]] = {
    each.__name__: each for each in (step, logistic, softmax, add_rows, gather, masks, put)
}
"""By the names that backends know."""
