"""Weights of fewer bits, `prepare(precision=...)`: how fast, and how far from float64, beside onnxruntime's.

Usage::

    python benchmarks/narrow.py                                   each instruction set that this CPU has; a minute each
    python benchmarks/narrow.py --targets avx2 --shapes "step H 256" --rounds 3
    python benchmarks/narrow.py --out                             also writes benchmarks/results/narrow-….json

A target is measured in a process of its own. There the sides take turns in blocks: a prepared LSTM in float32 and in
each format that its CPU has, and onnxruntime's LSTM, plain and with weights of 8 bits (DynamicQuantizeLSTM), by a plain
run and with bound memory, on all threads and on one; the fastest of its four ways counts. Errors are those of the
outputs against float64, relative, in the Frobenius norm. A step is given the state of the step before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
from lib import onnx_narrow
from lib.case import Case, case_of
from lib.command import Row, announce, choices, digits, finish, parser, table
from lib.errors import relative_error
from lib.harness import of_all, speed, take_turns
from lib.shapes import Size
from xlstm.backends import cpu

import xlstm
from xlstm.prepared import PRECISIONS

SHAPES: dict[str, Size] = {
    "step H 64": (1, 1, 16, 64),
    "step H 256": (1, 1, 64, 256),
    "step H 512": (1, 1, 128, 512),
    "step H 1024": (1, 1, 256, 1024),
    "one H 64": (1, 100, 16, 64),
    "one H 256": (1, 100, 64, 256),
    "one H 512": (1, 100, 128, 512),
    "four H 256": (4, 100, 64, 256),
    "16 H 256": (16, 100, 64, 256),
    "64 H 256": (64, 100, 64, 256),
}


def main() -> int:
    options = arguments()
    if options.part:
        print(json.dumps([measure(name, options) for name in options.shapes]))
        return 0
    targets = {}
    for target in options.targets:
        announce(f"target {target}")
        names = ",".join(options.shapes)
        command = [sys.executable, __file__, "--part", "--shapes", names, "--rounds", str(options.rounds)]
        command += ["--seconds", str(options.seconds)]
        environment = {**os.environ, "XLSTM_CPU_TARGET": target}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        targets[target] = json.loads(done.stdout)
    finish(options, "narrow", {"threads": cpu.threads(), "targets": targets}, text(targets))
    return 0


def arguments() -> argparse.Namespace:
    usable = [name for name, runs in cpu.targets().items() if runs]
    made = parser("narrow", __doc__)
    made.add_argument("--targets", type=choices(usable), default=usable, help=f"default: {','.join(usable)}")
    made.add_argument("--shapes", type=choices(list(SHAPES)), default=list(SHAPES), help="names, separated by commas")
    made.add_argument("--rounds", type=int, default=7, help="blocks of each side (default: 7)")
    made.add_argument("--seconds", type=float, default=0.03, help="of calls in a block, two calls at least")
    made.add_argument("--part", action="store_true", help="for this command's own processes: one target, as JSON")
    return made.parse_args()


# ---------------------------------------------------------------- speed


def measure(name: str, options: argparse.Namespace) -> Row:
    """All sides of one shape in this process, in turns; the errors first."""
    announce(f"  {name} {SHAPES[name]}")
    case = case_of(SHAPES[name])
    truth = layer_of(case, "float64").forward(case.x.astype(np.float64))[0]
    layer = layer_of(case, "float32")
    sides = {}
    for precision in (None, *PRECISIONS):
        try:
            prepared = layer.prepare(precision)
        except RuntimeError:  # this CPU cannot
            continue
        sides[precision or "float32"] = stepping(prepared, case) if case.size[1] == 1 else calling(prepared, case)
    sides |= onnx_narrow.calls(case, cpu.threads())
    errors = {side: relative_error(call(), truth) for side, call in sides.items()}
    times = take_turns(sides, options.seconds, options.rounds)
    fastest = {}
    for kind in ("float32", "int8"):
        ways = [side for side in sides if side.startswith(f"onnxruntime {kind},")]
        fastest[kind] = min(ways, key=lambda way: of_all(times[way])["median"])
    ours = [side for side in sides if not side.startswith("onnxruntime")]
    _, _, D, H = case.size
    return {
        "shape": name,
        "size": case.size,
        "weights_kb": 4 * H * (H + D) * 4 / 1024,
        "errors": errors,
        "seconds": {side: of_all(times[side])["median"] for side in sides},
        "onnxruntime": fastest,
        "against_float32": {side: speed(times["float32"], times[side]) for side in ours if side != "float32"},
        "against_onnxruntime": {
            side: speed(times[fastest["int8" if side == "int8" else "float32"]], times[side]) for side in ours
        },
    }


def layer_of(case: Case, dtype: str) -> xlstm.LSTM:
    _, _, D, H = case.size
    kernels = "reference" if dtype == "float64" else "compiled"
    layer = xlstm.LSTM(D, H, device="cpu", dtype=dtype, kernels=kernels)
    for name, weights in case.weights.items():
        layer.parameters[f"{name}_l0"] = weights
    return layer


def calling(prepared: Any, case: Case) -> Any:
    return lambda: prepared(case.x)[0]


def stepping(prepared: Any, case: Case) -> Any:
    """A step: the first from no state, for the error, and all others from the state of the one before."""
    state = None

    def step() -> Any:
        nonlocal state
        outputs, state = prepared(case.x, state)
        return outputs

    return step


# ---------------------------------------------------------------- for people


def text(targets: dict[str, list[Row]]) -> str:
    told = []
    for target, rows in targets.items():
        sides = [side for side in ("float32", *PRECISIONS) if any(side in row["seconds"] for row in rows)]
        speeds, errors = [], []
        for row in rows:
            best = {kind: row["seconds"][way] for kind, way in row["onnxruntime"].items()}
            microseconds = [digits(1e6 * row["seconds"][side]) if side in row["seconds"] else "–" for side in sides]
            quick = [row["against_float32"].get(side) for side in sides[1:]]
            against = row["against_onnxruntime"].get("int8")
            speeds.append([
                f"{row['shape']} {', '.join(map(str, row['size']))}",
                f"{row['weights_kb']:.0f}",
                *microseconds,
                *("–" if each is None else digits(each["median"]) for each in quick),
                *(digits(1e6 * best[kind]) for kind in ("float32", "int8")),
                "–" if against is None else digits(against["median"]),
            ])  # fmt: skip
            wrong = [row["errors"].get(side) for side in sides] + [row["errors"][row["onnxruntime"]["int8"]]]
            errors.append([row["shape"], *("–" if each is None else f"{each:.0e}" for each in wrong)])
        header = ["N, T, D, H", "weights, KB", *(f"{side}, µs" for side in sides),
                  *(f"{side} ×" for side in sides[1:]), "onnxruntime, µs", "its int8, µs", "int8 × its"]  # fmt: skip
        told += [f"{target}: times of a call, and how many times as fast as float32", table(header, speeds)]
        told += ["relative error of the outputs against float64", table(["", *sides, "onnxruntime int8"], errors)]
    return "\n\n".join(told)


if __name__ == "__main__":
    sys.exit(main())
