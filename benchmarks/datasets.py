"""The classifier with its defaults on two public sets of series: JapaneseVowels and ItalyPowerDemand.

Usage::

    pip install --no-deps aeon                       the files come with it; it is not imported
    python benchmarks/datasets.py
    python benchmarks/datasets.py --sets ItalyPowerDemand --seeds 1 --epochs 5
    python benchmarks/datasets.py --out              also writes benchmarks/results/datasets-….json

JapaneseVowels: 270 training and 370 test series of 7 to 29 steps of 12 features, 9 classes. ItalyPowerDemand: 67 and
1029 series of 24 numbers, 2 classes. Trained is on the given training part, measured on the given test part. Every
setting is the classifier's default but for those in `SETTINGS`; nothing is chosen by the test part.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from lib.command import Row, add_seeds, choices, finish, parser, table

from xlstm import SequenceClassifier

SETS = ("JapaneseVowels", "ItalyPowerDemand")
SETTINGS: dict[str, Any] = {"hidden_size": 64, "bidirectional": True}


def main() -> int:
    options = arguments()
    results = []
    for name in options.sets:
        (X, y), (X_test, y_test) = parts(name, options.folder)
        runs = []
        for seed in options.seeds:
            classifier = SequenceClassifier(**SETTINGS, random_state=seed, max_iter=options.epochs)
            begin = time.perf_counter()
            classifier.fit(X, y)
            seconds = time.perf_counter() - begin
            runs.append(
                {
                    "seed": seed,
                    "accuracy": classifier.score(X_test, y_test),
                    "seconds": seconds,
                    "epochs": classifier.n_iter_,
                    "device": classifier.device_,
                    "kernels": classifier.kernels_,
                }
            )
            print(f"{name}, seed {seed}: {runs[-1]['accuracy']:.4f}, {seconds:.1f} s", file=sys.stderr, flush=True)
        results.append({"set": name, "n_train": len(X), "n_test": len(X_test), "runs": runs})
    finish(options, "datasets", {"classifier": SETTINGS, "sets": results}, text(results))
    return 0


def arguments() -> argparse.Namespace:
    made = parser("datasets", __doc__)
    made.add_argument("--sets", type=choices(SETS), default=list(SETS), help=f"default: {','.join(SETS)}")
    add_seeds(made)
    made.add_argument("--epochs", type=int, help="for a quick look (default: the classifier's default)")
    add_folder(made)
    return made.parse_args()


def add_folder(made: argparse.ArgumentParser) -> None:
    made.add_argument("--folder", type=Path, help="of the sets' folders (default: in the installed package aeon)")


def parts(name: str, folder: Path | None) -> list[tuple[list[Any], list[str]]]:
    """The series and the labels of the training part, and of the test part."""
    folder = folder or folder_of_aeon()
    return [read_ts(folder / name / f"{name}_{end}.ts") for end in ("TRAIN", "TEST")]


def installed() -> bool:
    return importlib.util.find_spec("aeon") is not None


def folder_of_aeon() -> Path:
    """Where aeon keeps its sets, found without importing it: it was installed without what it needs to run."""
    spec = importlib.util.find_spec("aeon")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the sets come with aeon, which is not installed: pip install --no-deps aeon")
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data"


def read_ts(path: Path) -> tuple[list[Any], list[str]]:
    """The series (time, D) and the labels of a .ts file.

    Lines of @, # and % are the header. Each other line is a series: its features separated by colons, the steps of a
    feature by commas, and last its label.
    """
    series, labels = [], []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if not line or line[0] in "@#%":
                continue
            *features, label = line.split(":")
            try:
                values = np.array([[float(value) for value in feature.split(",")] for feature in features])
            except ValueError as error:  # a missing value is "?"; lengths that differ within a series
                raise ValueError(f"line {number} of {path.name} cannot be read: {error}") from error
            series.append(values.T)
            labels.append(label)
    return series, labels


def text(results: list[Row]) -> str:
    rows = []
    for result in results:
        accuracies = [run["accuracy"] for run in result["runs"]]
        seconds = [run["seconds"] for run in result["runs"]]
        rows.append(
            [
                result["set"],
                f"{result['n_train']}/{result['n_test']}",
                f"{statistics.mean(accuracies):.4f}",
                ", ".join(f"{accuracy:.4f}" for accuracy in accuracies),
                f"{statistics.median(seconds):.1f}",
                f"{max(seconds):.1f}",
            ]
        )
    settings = ", ".join(f"{name}={value!r}" for name, value in SETTINGS.items())
    header = ["set", "training/test", "mean accuracy", "each seed", "seconds a fit, median", "longest"]
    return f"SequenceClassifier({settings}), test part\n\n{table(header, rows)}"


if __name__ == "__main__":
    sys.exit(main())
