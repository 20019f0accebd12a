"""How much memory `fit` and `predict` take beside the series that they are given, and how long it takes to read them.

Usage::

    python benchmarks/series_memory.py
    python benchmarks/series_memory.py --hidden-size 64
    python benchmarks/series_memory.py --rows 10000
    python benchmarks/series_memory.py --out        also writes benchmarks/results/series_memory-….json

So many series of 8 features, all of 50 steps in one array or each of 20 to 80 in an array of its own, in float32 and in
float64, are fitted for one epoch by a model in float32, and predicted. Each form runs in a process of its own. What is
told is the most memory that it held (the peak of its resident set) over what it had when it had made X, as megabytes
and as times X; and the seconds from the call of `fit` to the first callback of the training, in which X is read,
checked, scaled and brought to the model's type.

The exit code is 1 where a fit takes more than 1.3 times X (float32), or reading takes longer than 2 seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from lib.command import Row, announce, finish, parser, table

import xlstm

FORMS = ("array", "list")
DTYPES = ("float32", "float64")
ALLOWED = 1.3  # times X in float32
SECONDS = 2.0


def main() -> int:
    made = parser("series_memory", __doc__)
    made.add_argument("--rows", type=int, default=100_000, help="series (default: 100000)")
    made.add_argument("--hidden-size", type=int, default=32, help="of the model (default: 32)")
    made.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    made.add_argument("--dtype", choices=DTYPES, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.form:
        print(json.dumps(measured(options.form, options.dtype, options.rows, options.hidden_size)))
        return 0
    rows = []
    for form in FORMS:
        for dtype in DTYPES:
            announce(f"{form}, {dtype}")
            size = ["--rows", str(options.rows), "--hidden-size", str(options.hidden_size)]
            run = [sys.executable, __file__, *size, "--form", form, "--dtype", dtype]
            rows.append(json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout))
    right = all(row["seconds"] <= SECONDS for row in rows)
    right &= all(row["fit"] <= ALLOWED * row["X"] for row in rows if row["dtype"] == "float32")
    lines = [
        [
            f"{row['form']}, {row['dtype']}",
            f"{row['X']:.0f}",
            f"{row['read']:.0f}",
            f"{row['fit']:.0f}",
            f"{row['fit'] / row['X']:.2f}",
            f"{row['predict']:.0f}",
            f"{row['seconds']:.2f}",
        ]
        for row in rows
    ]
    header = ["", "X, MB", "read and scaled, MB", "fit, MB", "times X", "predict, MB", "reading, s"]
    text = (
        f"{options.rows} series, hidden_size={options.hidden_size}, kernels {rows[0]['kernels']}\n\n"
        f"{table(header, lines)}\n\nasked for: {ALLOWED} times X in float32 or less, {SECONDS:.0f} seconds or less"
    )
    finish(options, "series_memory", {"rows": rows, "allowed": ALLOWED}, text)
    return int(not right)


def megabytes(line: str) -> float:
    """Of this process, by a line of what Linux tells of it: "VmRSS" now, "VmHWM" at most so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split(f"{line}:")[1].split()[0]) / 1024


class Begin:
    """A callback that notes when the training begins, and what was held until then."""

    def on_train_begin(self, progress: Any) -> None:
        self.time, self.megabytes = time.perf_counter(), megabytes("VmHWM")


def made_of(form: str, dtype: str, rows: int) -> Any:
    """The series, made without holding more than them."""
    rng = np.random.default_rng(0)
    if form == "list":
        return [rng.standard_normal((length, 8), dtype=dtype) for length in rng.integers(20, 81, rows)]
    X = np.empty((rows, 50, 8), dtype)
    for row in X:
        rng.standard_normal(out=row, dtype=dtype)
    return X


def over(before: float) -> float:
    """The megabytes that were held at most beyond those from before, since the last call of `anew`."""
    return megabytes("VmHWM") - before


def anew() -> float:
    """What is held now; the peak begins here."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return megabytes("VmRSS")


def measured(form: str, dtype: str, rows: int, hidden_size: int) -> Row:
    """One form, in this process."""
    X = made_of(form, dtype, rows)
    y = np.arange(rows) % 2
    begin = Begin()
    model = xlstm.SequenceClassifier(hidden_size=hidden_size, max_iter=1, device="cpu", random_state=0)
    before, start = anew(), time.perf_counter()
    model.fit(X, y, callbacks=[begin])
    row = {
        "form": form,
        "dtype": dtype,
        "X": sum(each.nbytes for each in X) / 2**20,
        "read": begin.megabytes - before,
        "fit": over(before),
        "seconds": begin.time - start,
        "kernels": model.kernels_,
    }
    before = anew()
    model.predict(X)
    return {**row, "predict": over(before)}


if __name__ == "__main__":
    sys.exit(main())
