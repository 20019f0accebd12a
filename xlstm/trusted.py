"""How far a fast implementation of a cell is from the array code: what those of a GPU have to show before their use.

The problems are small and unkind: rows of all lengths in no order, NaN in the padding of what is read, both directions,
with and without initial states, weights that stand at an odd offset in their buffer. What is right is computed on the
host, in float64: nothing of the GPU takes part in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import cells
from .backends import LEVELS, PRECISIONS, Agreement, ArrayCode, Backend, Unsupported, hand_in, select

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
    tokens: bool = False  # in place of x: one-hot ones
    table: bool = False  # for them, so that they are embedded; the gradients are then added to some that are there
    inference: bool = False  # forward alone, with packed parameters, and x at an odd offset

    def __str__(self) -> str:
        N, T, D, H = self.shape
        words = [f"N={N}, T={T}, D={D}, H={H}", "ragged" if self.ragged else "full rows"]
        words += ["reverse"] * self.reverse + ["with a state"] * self.states
        words += ["embedded tokens" if self.table else "one-hot tokens"] * self.tokens + ["inference"] * self.inference
        return ", ".join(words)


PERSISTENT_PROBLEMS = [
    Problem((8, 6, 128, 128), reverse=False, ragged=False, states=True, inference=inference)
    for inference in (False, True)
]
"""Such as cuDNN has, in float16, an algorithm for that keeps the weights on the chip."""


def problems(sizes: Sequence[tuple[int, int]] = SIZES, rows: int = ROWS, time: int = TIME) -> Iterator[Problem]:
    """What is computed for sizes (D, H)."""
    for D, H in sizes:
        shape = (rows, time, D, H)
        for reverse in (False, True):
            yield Problem(shape, reverse, ragged=True, states=True)
            yield Problem(shape, reverse, ragged=True, states=False)
            yield Problem(shape, reverse, ragged=False, states=True)
        yield Problem(shape, False, ragged=True, states=False, tokens=True)
        yield Problem(shape, False, ragged=True, states=False, tokens=True, table=True)
        for ragged in (False, True):
            yield Problem(shape, False, ragged=ragged, states=True, inference=True)


def at_first_use(precision: str) -> Iterator[Problem]:
    """What is computed before a level is used with this precision."""
    yield from problems()
    if precision == "float16":
        yield from PERSISTENT_PROBLEMS


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
    """How far an implementation of a cell is from the array code in float64 on the host, over all problems.

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
        What the array code gave so far: it is asked there, and kept there. None for what the process keeps.

    Returns
    -------
    Agreement or None
        The array with the largest error; None where the implementation refused all problems as unsupported.
    """
    bound, worst, done = bound_for(dtype, precision), None, 0
    known = _KNOWN if known is None else known
    for problem in at_first_use(precision) if asked is None else asked:
        with backend.current():
            try:
                ours = _results(cell, implementation, backend, dtype, problem)
            except Unsupported:
                continue
        done += 1
        right = known.get((cell, problem))
        if right is None:
            host = select("cpu")
            with host.quiet():
                right = known[cell, problem] = _results(cell, cells.by_name(cell), host, "float64", problem)
        floor = _floor_of_gradients(right)
        for name, expected in right.items():
            error = _error(ours[name], expected, floor if name.startswith("d") else 0.0)
            if worst is None or not error <= worst.error:
                worst = Agreement(error, bound, f"{name} ({problem})", 0)
    return None if worst is None else worst._replace(problems=done)


_KNOWN: dict[Any, Any] = {}
"""What is right, for the problems of the checks at first use."""

AT_LENGTH = ((1, 1), (3, 2), *SIZES, (17, 33), (40, 96), (64, 128))
"""(D, H) of the check that takes its time."""
BATCHES_AT_LENGTH = ((1, 1), (1, 7), (4, 6), (33, 20))
"""(N, T) of it."""


def problems_at_length() -> Iterator[Problem]:
    """What is computed by the check that takes its time."""
    for rows, time in BATCHES_AT_LENGTH:
        # One feature and one hidden unit alone: over several rows their gradients, single numbers, may cancel out, and
        # what is left of them is rounding in every implementation.
        yield from problems([size for size in AT_LENGTH if rows == 1 or size != (1, 1)], rows, time)


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
    asked += PERSISTENT_PROBLEMS
    for name in LEVELS:
        for cell in backend.levels.cells:
            for dtype, precision in [("float64", "highest"), *(("float32", each) for each in PRECISIONS)]:
                if precision != backend.levels.precision_of(name, dtype, precision):
                    continue  # it computes as one of the others
                row = {"device": backend.device, "kernels": name, "cell": cell, "dtype": dtype, "precision": precision}
                row |= {"problems": 0, "error": None, "bound": bound_for(dtype, precision), "where": "", "failure": ""}
                row |= {"reason": "", "passed": False}
                try:
                    _compare(row, backend, asked, known)
                except Exception as error:  # whatever it is, the others are still to be seen
                    row["failure"] = f"{type(error).__name__}: {error}"
                yield row


def _compare(row: dict[str, Any], backend: Backend, asked: Sequence[Problem], known: dict[Any, Any]) -> None:
    """Write into a row of the check that takes its time what the comparison gives."""
    name, cell, dtype, precision = (row[which] for which in ("kernels", "cell", "dtype", "precision"))
    level, row["reason"] = backend.levels.made(name, cell, dtype, precision)
    if level is None:
        return
    row["kernels"] = level.told
    found = agreement(cell, level.cell, backend, dtype, precision, asked, known)
    if found is None:
        row["failure"] = "it can do none of the problems"
        return
    row |= {"problems": found.problems, "where": found.where, "passed": found.good}
    if math.isfinite(found.error):
        row["error"] = found.error
    else:
        row["failure"] = f"not finite, or of another shape: {found.where}"


def _floor_of_gradients(right: dict[str, Any]) -> float:
    """A tenth of the root mean square of all gradients of a problem: one that is smaller is what is left of numbers
    that cancel each other, and nothing computes it to as many digits as these had."""
    gradients = [array.astype(np.float64).ravel() for name, array in right.items() if name.startswith("d")]
    return 0.1 * float(np.sqrt(np.mean(np.concatenate(gradients) ** 2))) if gradients else 0.0


def _error(ours: Any, expected: Any, floor: float = 0.0) -> float:
    """The norm of the difference over that of what is right; infinite where a shape is wrong or a number not finite.

    Where the root mean square of what is right is below `floor`, that is taken in its place.
    """
    if ours.shape != expected.shape or not np.isfinite(ours).all():
        return math.inf
    difference = float(np.linalg.norm(ours.astype(np.float64) - expected))
    return difference / max(float(np.linalg.norm(expected.astype(np.float64))), floor * expected.size**0.5, 1e-30)


def _results(cell: str, implementation: Any, backend: Backend, dtype: str, problem: Problem) -> dict[str, Any]:
    """All that a forward and a backward call give, on the host, by name; in inference, the forward call.

    What goes in is the same for every dtype: numbers that float32 has.
    """
    record, rng = cells.by_name(cell), np.random.default_rng(1)
    N, T, D, H = problem.shape
    shapes, width = record.shapes(D, H), record.output_size(H)
    total = sum(map(math.prod, shapes.values()))

    def normal(scale: float, *shape: int) -> Any:
        return rng.normal(0, scale, shape).astype(np.float32).astype(dtype)

    # Wider weights would saturate the gates, and each step multiply the error of the one before.
    params = _views(backend, normal(min(0.4, max(D, H) ** -0.5), 1 + total), shapes)
    begun = normal(1, 1 + total) if problem.table else np.full(1 + total, np.nan, dtype)
    into = _views(backend, begun, shapes)
    lengths = [1 + (5 * row + 2) % T for row in range(N)] if problem.ragged else None
    if lengths is not None and min(lengths) == T:
        lengths = None

    def padded(width: int) -> Any:
        values = normal(1, N, T, width)
        for row, length in enumerate(lengths or ()):
            values[row, length:] = np.nan
        return values

    def states() -> Any:
        return record.join(tuple([backend.from_host(normal(0.5, N, size)) for size in record.state_sizes(H)]))

    x = tokens = None
    if problem.tokens:
        V = D + 3 if problem.table else D
        ids = backend.from_host(rng.integers(0, V, (N, T)))
        tokens = (ids, backend.from_host(normal(1, V, D)) if problem.table else None)
    elif problem.inference:
        x = backend.from_host(np.concatenate([np.zeros(1, dtype), padded(D).ravel()]))
        x = backend.namespace.reshape(x[1:], (N, T, D))
    else:
        x = backend.from_host(padded(D))
    column = width if problem.reverse else 0  # as both directions of a layer share their outputs
    d_outputs, state, d_state = backend.from_host(padded(2 * width)), states(), states()
    out = backend.from_host(np.zeros((N, T, 2 * width), dtype))
    order = None
    if lengths is not None:
        order = implementation.order(backend.namespace, lengths, N, T, out.device)
    pack = getattr(implementation, "pack", None) if problem.inference else None  # the array code has none
    outputs, final, tape = implementation.forward(
        params,
        x,
        state if problem.states else None,
        order,
        tokens=tokens,
        keep=not problem.inference,
        reverse=problem.reverse,
        outputs=True,
        out=None if problem.inference else out,
        column=column,
        **({} if pack is None else {"packed": pack(params)}),
    )
    found = dict(zip(record.states, record.split("state", final), strict=True)) | {"outputs": outputs}
    if problem.inference:
        return {name: backend.to_host(array) for name, array in found.items()}
    dx, d_initial, _ = implementation.backward(
        params,
        tape,
        d_outputs,
        d_state,
        into=into,
        accumulate=problem.table,
        add_rows=backend.add_rows,
        column=column,
    )
    found |= {} if dx is None else {"dx": dx}
    found |= {f"d{name}": part for name, part in zip(record.states, record.split("state", d_initial), strict=True)}
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
