"""Is this checkout slower than an older one? The same calls in two interpreters, which take turns.

Usage::

    git worktree add ../older REVISION && python -m venv ../older/.venv && ../older/.venv/bin/pip install -e ../older
    python benchmarks/against.py ../older/.venv/bin/python
    python benchmarks/against.py OLD_PYTHON --only train,stream --shapes tiny,row --rounds 15
    python benchmarks/against.py OLD_PYTHON --out        also writes benchmarks/results/against-….json

Layers: a training step, inference, a prepared call, a streamed step, a ragged batch, two layers in both directions, the
RNN and the GRU, and the array code without kernels. Fits: some epochs of the first names, and of JapaneseVowels where
its files are (datasets.py).

Each interpreter is a process of its own. Both get the same weights and input, and first their results are compared: a
layer's that differ by more than the tolerance of the tests are WRONG, and the exit code is 1. What the older checkout
cannot do is told and left out. Then come blocks in turns, the older first in one round and the newer in the next. The
ratio is the median of the rounds: above 1, the newer one takes longer. Run it on a quiet machine; with one interpreter
on both sides it shows what noise there is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from lib import machine
from lib.checkout import BENCHMARKS
from lib.command import Row, announce, choices, finish, parser, table
from lib.errors import errors_of, within
from lib.harness import between, spread
from lib.shapes import FEW_ROWS, INFERENCE, RAGGED, SHAPES, STREAMS
from lib.sides import THREAD_VARIABLES

import xlstm
from xlstm import cli, data

PARTS = ("train", "inference", "prepared", "stream", "ragged", "stacked", "rnn", "gru", "reference", "fit")


class Side:
    """A worker in one interpreter."""

    def __init__(self, python: str, threads: int, folder: str) -> None:
        environment = {**os.environ, **{name: str(threads) for name in THREAD_VARIABLES}}
        self.process = subprocess.Popen(
            [python, str(BENCHMARKS / "lib" / "worker.py")],
            cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.told = self._answer()
        self.told["commit"] = machine.commit(Path(self.told.pop("folder")).parent)

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[0]} ended with {self.process.wait()}: see above")  # type: ignore[index]
        return json.loads(line)

    def ask(self, **what: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> int:
    options = arguments()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sides = {"old": Side(options.old, options.threads, folder), "new": Side(options.new, options.threads, folder)}
        told = {name: side.told for name, side in sides.items()}
        for name, case in cases(options, Path(folder)).items():
            announce(name)
            rows.append({"what": name, **measure(sides, case, options, Path(folder))})
        for side in sides.values():
            side.end()
    del options.old, options.new  # paths of a machine
    finish(options, "against", {"sides": told, "rows": rows}, text(told, rows))
    return int(any(row["wrong"] for row in rows))


def arguments() -> argparse.Namespace:
    made = parser("against", __doc__)
    made.add_argument("old", metavar="OLD_PYTHON", help="the interpreter that has the older xlstm")
    made.add_argument("--new", default=sys.executable, metavar="PYTHON", help="the newer one's (default: this one)")
    made.add_argument("--only", type=choices(PARTS), default=list(PARTS), help=f"some of {','.join(PARTS)}")
    shapes = list({**INFERENCE, **STREAMS, **RAGGED})
    made.add_argument("--shapes", type=choices(shapes), help=f"some of {','.join(shapes)} (default: all of a part)")
    made.add_argument("--rounds", type=int, default=9, help="blocks of each side (default: 9)")
    made.add_argument("--seconds", type=float, default=0.2, help="of calls in a block, two calls at least")
    made.add_argument("--threads", type=int, default=min(2, machine.cores()), help="of both sides (default: 2)")
    made.add_argument("--epochs", type=int, default=3, help="of a fit (default: 3)")
    datasets.add_folder(made)
    return made.parse_args()


def cases(options: argparse.Namespace, folder: Path) -> dict[str, Row]:
    """What is measured, by name."""
    made: dict[str, Row] = {}

    def add(part: str, sizes: dict[str, Any], kind: str, cell: str = "LSTM", **more: Any) -> None:
        for name, size in sizes.items() if part in options.only else ():
            if options.shapes is None or name in options.shapes:
                case = {"kind": kind, "cell": cell, "size": size, "ragged": part == "ragged", "options": more}
                made[f"{part}, {name}"] = case

    few = {name: SHAPES[name] for name in ("tiny", "row")}
    add("train", SHAPES, "train")
    add("inference", INFERENCE, "inference")
    add("prepared", {"tiny": SHAPES["tiny"], **FEW_ROWS}, "prepared")
    add("stream", STREAMS, "stream")
    add("ragged", RAGGED, "train")
    add("stacked", few, "train", num_layers=2, bidirectional=True)
    add("rnn", few, "train", cell="RNN")
    if hasattr(xlstm, "GRU"):
        add("gru", few, "train", cell="GRU")
    add("reference", {**few, "mid": SHAPES["mid"]}, "train", kernels="reference")
    if "fit" in options.only:
        jobs = {"names": (cli.NAMES_SETTINGS, *data.first_names())}
        if options.folder or datasets.installed():
            X, y = datasets.parts("JapaneseVowels", options.folder)[0]
            jobs["JapaneseVowels"] = ({**datasets.SETTINGS, "batch_size": 32}, [x.tolist() for x in X], y)
        else:
            print("JapaneseVowels is left out: pip install --no-deps aeon", file=sys.stderr)
        for name, (settings, sequences, labels) in jobs.items():
            file = folder / f"{name}.json"
            same = {"readout": "final", "learning_rate": "constant"}  # the defaults of the two may differ
            job = {"settings": {**same, **settings, "max_iter": options.epochs}, "X": sequences, "y": labels}
            file.write_text(json.dumps(job), encoding="utf-8")
            made[f"fit, {name}, {options.epochs} epochs"] = {"kind": "fit", "data": str(file)}
    return made


def measure(sides: dict[str, Side], case: Row, options: argparse.Namespace, folder: Path) -> Row:
    results = {}
    for name, side in sides.items():
        error = side.ask(prepare=case, results=str(folder / f"{name}.npz"))
        if error is not None:
            return {"error": f"{name}: {error}", "wrong": name == "new"}
        with np.load(folder / f"{name}.npz") as file:
            results[name] = dict(file)
    errors = errors_of(results["new"], results["old"])
    same = all(np.array_equal(results["new"][key], value) for key, value in results["old"].items())
    # The losses of a fit go apart with the epochs, however small the difference was at first: told, not judged.
    row: Row = {"same_bits": same, "errors": errors, "wrong": case["kind"] != "fit" and not within(errors)}
    if row["wrong"]:
        return row
    medians: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.rounds):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            medians[name].append(sides[name].ask(block=options.seconds))
    ratios = [new / old for new, old in zip(medians["new"], medians["old"], strict=True)]
    row["seconds"] = {name: spread(values)["median"] for name, values in medians.items()}
    return {**row, "ratio": {**between(ratios), "quartiles": spread(ratios)["quartiles"]}}


def text(told: Row, rows: list[Row]) -> str:
    cells = []
    for row in rows:
        if "error" in row:
            cells.append([row["what"], "", "", "", "", "", row["error"]])
            continue
        results = "the same bits" if row["same_bits"] else f"apart by {max(row['errors'].values()):.0e}"
        if row["wrong"]:
            cells.append([row["what"], "", "", "", "", "", f"WRONG: {results}"])
            continue
        ratio, (low, high) = row["ratio"], row["ratio"]["quartiles"]
        times = (f"{1e3 * row['seconds'][side]:.4g}" for side in ("old", "new"))
        spreads = f"{low:.3f}–{high:.3f}", f"{ratio['lowest']:.3f}–{ratio['highest']:.3f}"
        cells.append([row["what"], *times, f"{ratio['median']:.3f}", *spreads, results])
    header = ["", "old, ms", "new, ms", "new / old", "quartiles", "lowest–highest", "results"]
    sides = "\n".join(f"{side}: {', '.join(f'{key} {value}' for key, value in each.items())}"
                      for side, each in told.items())  # fmt: skip
    return f"{sides}\n\n{table(header, cells)}"


if __name__ == "__main__":
    sys.exit(main())
