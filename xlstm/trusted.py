"""How far a fast implementation of a cell is from the array code: what those of a GPU have to show before their use.

The problems are small and unkind: rows of all lengths in no order, NaN in the padding of what is read, both directions,
with and without initial states, weights that stand at an odd offset in their buffer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import cells
from .backends import LEVELS, PRECISIONS, Agreement, ArrayCode, Backend, Unsupported, hand_in

BOUNDS = {"highest": 1e-5, "high": 1e-2, "float16": 1e-2, "bfloat16": 6e-2}
"""For float32, the largest relative error of an array by precision. The first is what TF32 would not reach."""
BOUND_OF_FLOAT64 = 1e-12

SIZES = ((5, 7), (8, 32))
"""(D, H) of the problems: odd ones, and such as fast kernels are written for."""
ROWS, TIME = 4, 6

Shape = tuple[int, int, int, int]
"""(N, T, D, H)"""


class Problem(NamedTuple):
    """One call of a cell."""

    shape: Shape
    reverse: bool
    ragged: bool
    states: bool  # whether they are given
    tokens: bool = False  # one-hot ones, in place of x

    def __str__(self) -> str:
        N, T, D, H = self.shape
        words = [f"N={N}, T={T}, D={D}, H={H}", "ragged" if self.ragged else "full rows"]
        words += ["reverse"] * self.reverse + ["with a state"] * self.states + ["one-hot tokens"] * self.tokens
        return ", ".join(words)


def problems(sizes: Sequence[tuple[int, int]] = SIZES, rows: int = ROWS, time: int = TIME) -> Iterator[Problem]:
    """What is computed for sizes (D, H)."""
    for D, H in sizes:
        shape = (rows, time, D, H)
        for reverse in (False, True):
            yield Problem(shape, reverse, ragged=True, states=True)
            yield Problem(shape, reverse, ragged=True, states=False)
            yield Problem(shape, reverse, ragged=False, states=True)
        yield Problem(shape, False, ragged=True, states=False, tokens=True)


def bound_for(dtype: str, precision: str) -> float:
    """How large an error may be."""
    return BOUND_OF_FLOAT64 if dtype == "float64" else BOUNDS[precision]


def agreement(
    cell: str,
    implementation: Any,
    backend: Backend,
    dtype: str,
    precision: str,
    asked: Sequence[Problem] | None = None,
    known: dict[Any, Any] | None = None,
) -> Agreement | None:
    """How far an implementation of a cell is from the array code on a device, over all problems.

    The caller's device, stream and random state stay as they are.

    Parameters
    ----------
    cell
        Its name.
    implementation
        With the methods of a fast cell: see `xlstm.backends.Choice`.
    backend
        Of the device.
    dtype, precision
        What it was made for.
    asked
        The problems; None for those of the check at first use.
    known
        What the array code gave on this device so far: it is asked there, and kept there.

    Returns
    -------
    Agreement or None
        The array with the largest error; None where the implementation refused all problems as unsupported.
    """
    bound, worst, done = bound_for(dtype, precision), None, 0
    for problem in problems() if asked is None else asked:
        with backend.current():
            try:
                ours = _results(cell, implementation, backend, dtype, problem)
            except Unsupported:
                continue
            done += 1
            right = None if known is None else known.get((cell, dtype, problem))
            if right is None:
                right = _results(cell, cells.by_name(cell), backend, dtype, problem)
            if known is not None:
                known[cell, dtype, problem] = right
        for name, expected in right.items():
            error = _error(ours[name], expected)
            if worst is None or not error <= worst.error:
                worst = Agreement(error, bound, f"{name} ({problem})", 0)
    return None if worst is None else worst._replace(problems=done)


AT_LENGTH = ((1, 1), (3, 2), *SIZES, (17, 33), (40, 96), (64, 128))
"""(D, H) of the check that takes its time."""
BATCHES_AT_LENGTH = ((1, 1), (1, 7), (4, 6), (33, 20))
"""(N, T) of it."""


def at_length(backend: Backend) -> Iterator[dict[str, Any]]:
    """Each level of a GPU against the array code, for each cell, dtype and precision, in sizes of all kinds.

    Those that the check at first use has refused are compared too. Nothing comes of the CPU.

    Yields
    ------
    dict of str to plain values
        `device`, `kernels`, `cell`, `dtype`, `precision`, `problems`, `error`, `bound`, `where` and `passed`. Where a
        level is not there, `error` is None and `reason` says why; where it raised, `failure` says what.
    """
    if backend.levels is None:
        return
    known: dict[Any, Any] = {}
    asked = [one for rows, time in BATCHES_AT_LENGTH for one in problems(AT_LENGTH, rows, time)]
    for name in LEVELS:
        for cell in backend.levels.cells:
            for dtype, precision in [("float64", "highest"), *(("float32", each) for each in PRECISIONS)]:
                if precision != backend.levels.precision_of(name, dtype, precision):
                    continue  # it computes as one of the others
                level, reason = backend.levels.made(name, cell, dtype, precision)
                row = {"device": backend.device, "kernels": name, "cell": cell, "dtype": dtype, "precision": precision}
                row |= {"problems": 0, "error": None, "bound": bound_for(dtype, precision), "where": "", "failure": ""}
                row |= {"reason": reason, "passed": False}
                if level is not None:
                    row["kernels"] = level.told
                    try:
                        found = agreement(cell, level.cell, backend, dtype, precision, asked, known)
                    except Exception as error:  # whatever it is, the others are still to be seen
                        row["failure"] = f"{type(error).__name__}: {error}"
                    else:
                        if found is None:
                            row["failure"] = "it can do none of the problems"
                        else:
                            row |= {"problems": found.problems, "where": found.where, "passed": found.good}
                            if math.isfinite(found.error):
                                row["error"] = found.error
                            else:
                                row["failure"] = f"not finite, or of another shape: {found.where}"
                yield row


def _error(ours: Any, expected: Any) -> float:
    """The norm of the difference over that of what is right; infinite where a shape is wrong or a number not finite."""
    if ours.shape != expected.shape or not np.isfinite(ours).all():
        return math.inf
    difference = float(np.linalg.norm(ours.astype(np.float64) - expected))
    return difference / max(float(np.linalg.norm(expected.astype(np.float64))), 1e-30)


def _results(cell: str, implementation: Any, backend: Backend, dtype: str, problem: Problem) -> dict[str, Any]:
    """All that a forward and a backward call give, on the host, by name."""
    record, rng = cells.by_name(cell), np.random.default_rng(1)
    N, T, D, H = problem.shape
    shapes, width = record.shapes(D, H), record.output_size(H)
    total = sum(map(math.prod, shapes.values()))
    params = _views(backend, rng.normal(0, 0.4, 1 + total).astype(dtype), shapes)
    into = _views(backend, np.full(1 + total, np.nan, dtype), shapes)
    lengths = [1 + (5 * row + 2) % T for row in range(N)] if problem.ragged else None
    if lengths is not None and min(lengths) == T:
        lengths = None

    def padded(values: Any) -> Any:
        for row, length in enumerate(lengths or ()):
            values[row, length:] = np.nan
        return backend.from_host(values.astype(dtype))

    def states() -> Any:
        drawn = [rng.normal(0, 0.5, (N, size)).astype(dtype) for size in record.state_sizes(H)]
        return record.join(tuple(backend.from_host(values) for values in drawn))

    x = tokens = None
    if problem.tokens:
        tokens = (backend.from_host(rng.integers(0, D, (N, T))), None)
    else:
        x = padded(rng.standard_normal((N, T, D)))
    column = width if problem.reverse else 0  # as both directions of a layer share their outputs
    d_outputs, state, d_state = padded(rng.standard_normal((N, T, 2 * width))), states(), states()
    out = backend.from_host(np.zeros((N, T, 2 * width), dtype))
    order = None
    if lengths is not None:
        order = implementation.order(backend.namespace, lengths, N, T, out.device)
    outputs, final, tape = implementation.forward(
        params,
        x,
        state if problem.states else None,
        order,
        tokens=tokens,
        keep=True,
        reverse=problem.reverse,
        outputs=True,
        out=out,
        column=column,
    )
    dx, d_initial, _ = implementation.backward(
        params, tape, d_outputs, d_state, into=into, accumulate=False, add_rows=backend.add_rows, column=column
    )
    found = {"outputs": outputs, **({} if dx is None else {"dx": dx})}
    for prefix, several in (("", final), ("d", d_initial)):
        for name, part in zip(record.states, record.split("state", several), strict=True):
            found[f"{prefix}{name}"] = part
    found |= {f"d_{name}": gradient for name, gradient in into.items()}
    return {name: backend.to_host(array) for name, array in found.items()}


def _views(backend: Backend, host: Any, shapes: Any) -> dict[str, Any]:
    """Arrays of these shapes one after another in a buffer whose first number is nobody's."""
    flat, views, begin = backend.from_host(host), {}, 1
    for name, shape in shapes.items():
        end = begin + math.prod(shape)
        views[name] = backend.namespace.reshape(flat[begin:end], shape)
        begin = end
    return views


def training(what: str, implementation: Any, backend: Backend, dtype: str) -> Agreement:
    """How far what trains beside the cells is from what is right, on a device.

    Parameters
    ----------
    what
        A name of `xlstm.trials.TRIALS`: an optimiser's step, a loss, or a method for rows.
    implementation
        `CudaStep`, `CudaLoss` or `Rows` of `xlstm.backends.cuda`, or what has its methods.
    backend, dtype
        Of the device, and what it is to be used for.

    Returns
    -------
    Agreement
        The array with the largest error. Integers have to be right.
    """
    from .trials import TRIALS

    bound = 0.0 if dtype == "int64" else bound_for(dtype, "highest")
    worst = Agreement(0.0, bound, "", 0)
    with backend.current():
        for name, ours, expected in TRIALS[what](implementation, backend, dtype):
            error = _error(ours, expected)
            if not error <= worst.error:
                worst = worst._replace(error=error, where=name)
            worst = worst._replace(problems=worst.problems + 1)
    return worst


hand_in(ArrayCode(cells.by_name, agreement, training))
