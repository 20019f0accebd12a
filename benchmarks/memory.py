"""How much memory a training takes on more sequences than are held, and whether it learns the same as in memory.

Usage::

    python benchmarks/memory.py
    python benchmarks/memory.py --rows 50000
    python benchmarks/memory.py --out               also writes benchmarks/results/memory-….json

So many short strings with labels, first names with letters drawn before and behind them, are written to files of
100,000 rows. Each way of training runs in a process of its own for one epoch, and what is told is the most memory that
it held (the peak of its resident set) over what it had after `import xlstm`:

    files               xlstm.from_files with its usual buffer
    files, all held     the same with a buffer that holds all rows, encoded
    in memory           the files read into lists first, and these passed to fit

The second draws the same batches as the third: its loss and its answers are to be the same bits. The first trains in
another order, so its loss is another one; that it reads the same is shown by the third model, whose log loss over all
rows is computed from files and from lists (`shown`), and is to be the same to 1e-6. The exit code is 1 where they are
not, and where the first takes more than 400 MB.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lib.command import Row, announce, finish, parser, table

import xlstm
from xlstm import data

WAYS = ("files", "files, all held", "in memory")
ALLOWED = 400.0  # MB
A_FILE = 100_000
SETTINGS: dict[str, Any] = {"hidden_size": 32, "max_iter": 1, "device": "cpu", "random_state": 0}


def main() -> int:
    made = parser("memory", __doc__)
    made.add_argument("--rows", type=int, default=1_000_000, help="sequences (default: 1000000)")
    made.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    made.add_argument("--files", help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.way:
        print(json.dumps(trained(options.way, sorted(map(str, Path(options.files).glob("*.csv"))), options.rows)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        announce(f"writing {options.rows} rows")
        write(Path(folder), options.rows)
        rows = []
        for way in WAYS:
            announce(way)
            run = [sys.executable, __file__, "--rows", str(options.rows), "--way", way, "--files", folder]
            rows.append(json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout))
    of = {row["way"]: row for row in rows}
    held, memory = of["files, all held"], of["in memory"]
    results = {
        "rows": rows,
        "same_bits": (held["answers"], held["loss"]) == (memory["answers"], memory["loss"]),
        "shown_apart": abs(memory["shown_from_files"] / memory["shown"] - 1),
        "allowed": ALLOWED,
    }
    right = results["same_bits"] and results["shown_apart"] < 1e-6 and of["files"]["megabytes"] <= ALLOWED
    lines = [[row["way"], f"{row['megabytes']:.0f}", f"{row['seconds']:.0f}", f"{row['loss']:.6f}"] for row in rows]
    text = (
        f"{options.rows} sequences, one epoch, kernels {rows[0]['kernels']}\n\n"
        f"{table(['', 'MB', 'seconds', 'loss'], lines)}\n\n"
        f"all held and in memory: {'the same bits' if results['same_bits'] else 'WRONG, other bits'}; log loss of one "
        f"model from files and from lists: {results['shown_apart']:.1e} apart; asked for: {ALLOWED:.0f} MB or less"
    )
    finish(options, "memory", results, text)
    return int(not right)


def write(folder: Path, rows: int) -> None:
    """Names with other letters around them, so that there are as many as are wanted."""
    names, labels = data.first_names()
    rng = np.random.default_rng(0)
    letters = np.array(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    for number, start in enumerate(range(0, rows, A_FILE)):
        chosen = rng.integers(0, len(names), min(A_FILE, rows - start))
        before, behind = letters[rng.integers(0, 26, (2, len(chosen)))]
        with open(folder / f"{number:05}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            writer.writerows((b + names[k] + e, labels[k]) for b, k, e in zip(before, chosen, behind, strict=True))


def megabytes(line: str) -> float:
    """Of this process, by a line of what Linux tells of it: "VmRSS" now, "VmHWM" at most so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split(f"{line}:")[1].split()[0]) / 1024


def trained(way: str, paths: list[str], rows: int) -> Row:
    """One training, in this process."""
    before, begin = megabytes("VmRSS"), time.perf_counter()
    classifier = xlstm.SequenceClassifier(**SETTINGS)
    X: list[str] = []
    y: list[str] = []
    if way == "in memory":
        for texts, of_texts in xlstm.from_files(paths):
            X += texts
            y += of_texts.tolist()
        classifier.fit(X, y)
    else:
        buffer = {} if way == "files" else {"buffer": rows}
        classifier.fit(xlstm.from_files(paths, **buffer))
    result = {
        "way": way,
        "seconds": time.perf_counter() - begin,
        "megabytes": megabytes("VmHWM") - before,
        "over": before,
        "loss": classifier.loss_,
        "accuracy": classifier.accuracy_curve_[-1],
        "kernels": classifier.kernels_,
    }
    if way != "files":
        result["answers"] = answers_of(classifier)
    if way == "in memory":
        result["shown"] = log_loss(classifier, [(X, np.array(y))])
        result["shown_from_files"] = log_loss(classifier, xlstm.from_files(paths))
    return result


def answers_of(classifier: xlstm.SequenceClassifier) -> str:
    """The probabilities of a hundred names, all their bits: other weights give others."""
    answers: bytes = classifier.predict_proba(data.first_names()[0][:100]).tobytes()
    return hashlib.sha256(answers).hexdigest()


def log_loss(classifier: xlstm.SequenceClassifier, batches: Any) -> float:
    """Of all rows, in float64, batch by batch."""

    def parts() -> Iterator[tuple[float, int]]:
        for X, y in batches:
            chosen = classifier.predict_log_proba(X).astype(np.float64)
            places = np.searchsorted(classifier.classes_, y)
            yield -float(chosen[np.arange(len(y)), places].sum()), len(y)

    total, rows = map(sum, zip(*parts(), strict=True))
    return total / rows


if __name__ == "__main__":
    sys.exit(main())
