"""What it gains that threads share the steps of small batches only where their cores are near to each other.

Usage::

    python benchmarks/near_cores.py
    python benchmarks/near_cores.py --shapes "stream H 256" --rounds 3
    python benchmarks/near_cores.py --out            also writes benchmarks/results/near_cores-….json

Three sides, which take turns: all calls share their steps ("near"); all calls find their cores apart, and do without
sharing for a time ("apart"); each call that would share measures the way between its cores first ("measured"), which is
how the library runs by itself. The results of all three are compared before they are timed: they are the same bits, or
the exit code is 1. backends/cpu/kernels/near_cores.h has the rule.

Where two cores share a cache, "near" should win and "measured" should lose little against it; where they do not, the
same holds for "apart". "Of the best" is the time of "measured" over the shorter of the other two: what the measurement
loses where it answers right, or what a wrong answer costs.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from lib.command import Row, announce, choices, finish, parser, table
from lib.harness import block, spread
from lib.shapes import Size
from xlstm.backends import cpu

import xlstm

SHAPES: dict[str, Size] = {
    "stream H 64": (1, 1, 16, 64),
    "stream H 256": (1, 1, 64, 256),
    "stream H 512": (1, 1, 64, 512),
    "one": (1, 100, 16, 64),
    "one wide": (1, 100, 64, 256),
    "four": (4, 50, 16, 64),
    "four wide": (4, 50, 64, 256),
}
"""(N, T, D, H). A stream is one step of a prepared layer; the others are inference and a training step."""

ANSWERS = ("near", "apart", "measured")


def main() -> int:
    made = parser("near_cores", __doc__)
    made.add_argument("--shapes", type=choices(list(SHAPES)), default=list(SHAPES), help="names, separated by commas")
    made.add_argument("--rounds", type=int, default=5, help="blocks of each side (default: 5)")
    made.add_argument("--seconds", type=float, default=0.05, help="of calls in a block, two calls at least")
    options = made.parse_args()
    if cpu.target is None:
        print(cpu.why_not(), file=sys.stderr)
        return 1
    if cpu.threads() == 1:
        print("one thread is all that may be used here: it shares nothing", file=sys.stderr)
        return 1
    rows: list[Row] = []
    wrong = False
    for name in options.shapes:
        announce(f"{name} {SHAPES[name]}")
        for kind, call in calls(SHAPES[name]).items():
            measured = measure(call, options.rounds, options.seconds)
            row: Row = {"shape": name, "call": kind, "size": SHAPES[name], **measured}
            wrong = wrong or not row["correct"]
            rows.append(row)
    finish(options, "near_cores", {"rows": rows, "threads": cpu.threads(), "kernels": cpu.target}, text(rows))
    return int(wrong)


def calls(size: Size) -> dict[str, Callable[[], Any]]:
    """By what a table calls them; each returns arrays."""
    N, T, D, H = size
    layer = xlstm.LSTM(D, H, device="cpu", seed=0)
    rng = np.random.default_rng(0)
    x, dh = rng.standard_normal((N, T, D), dtype=np.float32), rng.standard_normal((1, N, H), dtype=np.float32)
    prepared = layer.prepare()
    state = prepared(x)[1]
    if T == 1:
        return {"step": lambda: prepared(x, state)[1]}

    def train() -> Any:
        outputs, _, tape = layer.forward(x)
        layer.backward(tape, d_state=(dh, None), input_gradient=False)
        return outputs, layer.gradients.flat

    return {"inference": lambda: prepared(x)[1], "training": train}


def measure(call: Callable[[], Any], rounds: int, seconds: float) -> Row:
    """Blocks of one call with each answer, in turns; each round begins with another answer."""
    times: dict[str, list[float]] = {answer: [] for answer in ANSWERS}
    found, results = {answer: [0, 0] for answer in ANSWERS}, {}
    try:
        for turn in range(rounds):
            first = turn % len(ANSWERS)
            for answer in ANSWERS[first:] + ANSWERS[:first]:
                cpu.force_cores(answer)
                results[answer] = [np.array(array) for array in call()]
                times[answer] += block(call, seconds)
                found[answer] = [sum(pair) for pair in zip(found[answer], cpu.cores_found(), strict=True)]
    finally:
        cpu.force_cores("measured")
    medians = {answer: statistics.median(times[answer]) for answer in ANSWERS}
    return {
        "correct": all(
            np.array_equal(ours, theirs)
            for answer in ("apart", "measured")
            for ours, theirs in zip(results[answer], results["near"], strict=True)
        ),
        "seconds": {answer: spread(times[answer]) for answer in ANSWERS},
        "answers": {answer: dict(zip(("near", "apart"), found[answer], strict=True)) for answer in ANSWERS},
        "of_the_best": medians["measured"] / min(medians["near"], medians["apart"]),
    }


def text(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        times = {answer: row["seconds"][answer]["median"] * 1e6 for answer in ANSWERS}
        shared = any(sum(row["answers"][answer].values()) for answer in ANSWERS)
        answers = row["answers"]["measured"]
        lines.append(
            [row["shape"], row["call"], *(f"{times[answer]:.1f}" for answer in ANSWERS)]
            + ([f"{times['apart'] / times['near']:.2f}", f"{row['of_the_best']:.2f}"] if shared else ["", ""])
            + [f"{answers['near']} near, {answers['apart']} apart" if shared else "too small to share"]
        )
        if not row["correct"]:
            lines[-1][-1] = "not the same bits"
    header = ["shape", "call", *(f"{answer}, µs" for answer in ANSWERS), "apart : near", "of the best"]
    return table([*header, "measured answers"], lines)


if __name__ == "__main__":
    raise SystemExit(main())
