"""Is each level right on this GPU? Every cell, ragged, both directions, beside array code in float64 on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from xlstm import backends

from .command import Row
from .errors import bounds_of, errors_of
from .gpu_device import layer, pairs
from .parts import Case

CELLS = ("lstm", "gru", "rnn")
SIZES = ((4, 6, 5, 7), (5, 9, 8, 32), (33, 40, 128, 128))
"""(N, T, D, H): odd ones, and those that vectors and tiles fit."""


def cases(given: Row) -> list[Case]:
    kinds = [(level, precision, "float32") for level, precision in pairs(given)]
    kinds += [(level, precision, "float64") for level, precision in pairs(given) if precision == "highest"]
    names = ("level", "precision", "dtype", "cell")
    return [dict(zip(names, (*kind, cell), strict=True)) for kind in kinds for cell in CELLS]


def measure(case: Case, given: Row, seconds: float) -> Row:
    bounds = bounds_of(case["dtype"], case["precision"])
    worst: dict[str, float] = {"forward": 0.0, "gradient": 0.0}
    for number, size in enumerate(SIZES[:1] if given["quick"] else SIZES):
        for directions in (1, 2):
            errors, kernels = compared(case, given["device"], size, directions, number)
            worst = {kind: max(worst[kind], errors[kind]) for kind in worst}
    right = all(worst[kind] <= bounds[kind] for kind in worst)
    return {"kernels": kernels, "errors": worst, "bounds": bounds, "right": right}


def compared(
    case: Case, device: str, size: tuple[int, int, int, int], directions: int, seed: int
) -> tuple[dict[str, float], str]:
    """The errors of one call of each direction of time, and what ran.

    The lengths are not sorted, the padding holds NaN, and every second problem begins with a state.
    """
    N, T, D, H = size
    rng = np.random.default_rng(seed)
    lengths = rng.permutation(np.concatenate([[T], rng.integers(1, T + 1, N - 1)])).tolist()
    padding = np.arange(T) >= np.array(lengths)[:, None]  # (N, T)
    x, d_outputs = rng.standard_normal((N, T, D)), rng.standard_normal((N, T, directions * H))
    x[padding], d_outputs[padding] = np.nan, np.nan
    halves = 2 if case["cell"] == "lstm" else 1
    start = [rng.standard_normal((directions, N, H)) for _ in range(halves)] if seed % 2 else [None] * halves
    d_final = [rng.standard_normal((directions, N, H)) for _ in range(halves)]
    options = {"bidirectional": directions == 2, "seed": seed}
    ours = layer(case["cell"], (D, H), device, case["level"], case["precision"], dtype=case["dtype"], **options)
    true = layer(case["cell"], (D, H), "cpu", "reference", "highest", dtype="float64", **options)
    host = ours.backend.to_host(ours.parameters.flat)
    true.parameters.flat[:] = host  # as they are after rounding
    # Numbers that float32 has, so that both sides are given the same.
    rounded = [None if a is None else a.astype(case["dtype"]) for a in (x, d_outputs, *start, *d_final)]
    got, expected = (results(each, rounded, halves, lengths) for each in (ours, true))
    return {"forward": 0.0, "gradient": 0.0, **errors_of(got, expected)}, ours.kernels


def results(layer: Any, arrays: list[Any], halves: int, lengths: list[int]) -> dict[str, Any]:
    """Outputs, final state and all gradients, on the host; the names of gradients begin with d."""
    backend: backends.Backend = layer.backend
    placed = [a if a is None else backend.from_host(a) for a in arrays]
    x, d_outputs, states = placed[0], placed[1], placed[2:]
    start, d_final = (
        (tuple(part) if halves == 2 else part[0]) if part[0] is not None else None
        for part in (states[:halves], states[halves:])
    )
    outputs, state, tape = layer.forward(x, start, lengths)
    dx, d_start = layer.backward(tape, d_outputs, d_final)

    def parts(name: str, value: Any) -> dict[str, Any]:
        return {f"{name} {k}": half for k, half in enumerate(value if halves == 2 else [value])}

    found = {"outputs": outputs, **parts("state", state), "dx": dx, **parts("d_state", d_start)}
    found |= {f"d_{name}": layer.gradients[name] for name in layer.gradients}
    return {name: backend.to_host(value) for name, value in found.items()}


def right_pairs(rows: list[Row]) -> list[list[str]]:
    """The levels and precisions of which no case in float32 is wrong, or has failed."""
    kinds: dict[tuple[str, str], bool] = {}
    for row in rows:
        if row["dtype"] == "float32" and row["cell"] == "lstm":
            kinds[row["level"], row["precision"]] = bool(row.get("right"))
    return [list(kind) for kind, right in kinds.items() if right]
