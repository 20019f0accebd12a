"""`xlstm train` on the embedded first names, with several seeds, each in a process of its own.

Usage::

    python benchmarks/names.py
    python benchmarks/names.py --seeds 1 --train-options "--epochs 1"
    python benchmarks/names.py --out                also writes benchmarks/results/names-….json

The seed chooses the held-out fifth too, so the spread is that of the split and of the training together. Seconds are of
the training alone, as the command tells them, and of the whole process.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lib.command import add_seeds, finish, parser, table


def main() -> int:
    made = parser("names", __doc__)
    add_seeds(made)
    made.add_argument("--train-options", type=shlex.split, default=[], help='for `xlstm train`, as "--epochs 1"')
    options = made.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            runs.append(train(seed, options.train_options, Path(folder)))
            told = {key: runs[-1][key] for key in ("accuracy", "balanced_accuracy", "seconds")}
            print(f"seed {seed}: {told}", file=sys.stderr, flush=True)

    columns = ("accuracy", "balanced_accuracy", "seconds", "process_seconds")
    rows = [[f"{run['seed']}", *(form(key, run[key]) for key in columns)] for run in runs]
    means = {key: statistics.mean(run[key] for run in runs) for key in columns}
    rows.append(["mean", *(form(key, means[key]) for key in columns)])
    text = f"xlstm train, {runs[0]['n_test']} held-out names\n\n" + table(
        ["seed", "accuracy", "balanced accuracy", "training, s", "whole process, s"], rows
    )
    finish(options, "names", {"means": means, "runs": runs}, text)
    return 0


def train(seed: int, options: list[str], folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "xlstm", "train", "--json", "--seed", str(seed), "--out", "names.xlstm", *options]
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    process_seconds = time.perf_counter() - begin
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command[1:])} ended with {done.returncode}:\n{done.stderr}")
    values = json.loads(done.stdout)
    kept = ("accuracy", "balanced_accuracy", "n_test", "seconds", "device", "kernels")
    return {"seed": seed, **{key: values[key] for key in kept}, "process_seconds": process_seconds}


def form(key: str, value: float) -> str:
    return f"{value:.1f}" if "seconds" in key else f"{value:.4f}"


if __name__ == "__main__":
    sys.exit(main())
