"""What weights of fewer bits cost in accuracy: the same trained classifiers, prepared in each precision.

Usage::

    python benchmarks/narrow_accuracy.py --folder FOLDER          FOLDER holds aeon's data sets; some minutes
    python benchmarks/narrow_accuracy.py --seeds 1 --epochs 2     for a quick look
    python benchmarks/narrow_accuracy.py --out                    also writes benchmarks/results/narrow_accuracy-….json

The sets: the embedded first names, with the settings of `xlstm train`; JapaneseVowels and ItalyPowerDemand from aeon
and scikit-learn's digits row by row, with the classifier's defaults. Each classifier is trained in float32, once for
each seed. Beside the accuracy stands how many answers are others than in float32: those that were wrong count too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

import numpy as np
from datasets import add_folder, parts
from lib.command import Row, add_seeds, announce, choices, finish, parser, table

import xlstm
from xlstm import batch, cli, data
from xlstm.prepared import PRECISIONS

SETS = ("names", "JapaneseVowels", "digits", "ItalyPowerDemand")


def main() -> int:
    made = parser("narrow_accuracy", __doc__)
    made.add_argument("--sets", type=choices(SETS), default=list(SETS), help=f"default: {','.join(SETS)}")
    made.add_argument("--epochs", type=int, help="for a quick look (default: those of the classifier)")
    add_seeds(made)
    add_folder(made)
    options = made.parse_args()
    sets = [accuracies(name, options) for name in options.sets]
    finish(options, "narrow_accuracy", {"sets": sets}, text(sets))
    return 0


def set_of(name: str, options: argparse.Namespace) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """X and y to train with, X and y to test with, and settings of the classifier."""
    if name in ("JapaneseVowels", "ItalyPowerDemand"):
        (X, y), (X_test, y_test) = parts(name, options.folder)
        return X, y, X_test, y_test, {}
    if name == "names":
        X, y = data.first_names()
        settings = dict(cli.NAMES_SETTINGS)
    else:
        from sklearn.datasets import load_digits

        digits_of = load_digits()
        X, y, settings = list(digits_of.images), digits_of.target.tolist(), {}
    kept, aside = batch.stratified_split(np.unique(y, return_inverse=True)[1], 0.2, np.random.default_rng(0))
    return *([values[k] for k in rows] for rows in (kept, aside) for values in (X, y)), settings  # type: ignore[return-value]


def accuracies(name: str, options: argparse.Namespace) -> Row:
    """Of each seed and format: the accuracy on the test part, and how many answers are others than in float32."""
    X, y, X_test, y_test, settings = set_of(name, options)
    settings = {**settings, **({} if options.epochs is None else {"max_iter": options.epochs})}
    runs = []
    for seed in options.seeds:
        announce(f"  {name}, seed {seed}")
        classifier = xlstm.SequenceClassifier(**{**settings, "random_state": seed, "device": "cpu"}).fit(X, y)
        answers = {}
        for precision in (None, *PRECISIONS):
            prepared = classifier.prepare(precision)
            answers[precision or "float32"] = np.asarray(prepared.predict(X_test))
        right = {side: float(np.mean(found == np.asarray(y_test))) for side, found in answers.items()}
        other = {side: int(np.sum(found != answers["float32"])) for side, found in answers.items()}
        runs.append({"seed": seed, "accuracy": right, "other_answers": other})
    mean = {side: statistics.mean(run["accuracy"][side] for run in runs) for side in runs[0]["accuracy"]}
    return {"set": name, "n_train": len(y), "n_test": len(y_test), "mean": mean, "runs": runs}


def text(sets: list[Row]) -> str:
    rows = []
    for each in sets:
        changed = {side: sum(run["other_answers"][side] for run in each["runs"]) for side in each["mean"]}
        rows.append([
            each["set"],
            f"{each['n_train']}/{each['n_test']}",
            *(f"{value:.4f}" for value in each["mean"].values()),
            *(f"{changed[side]}" for side in PRECISIONS),
        ])  # fmt: skip
    header = ["set", "training/test", "float32", *PRECISIONS, *(f"other answers in {side}" for side in PRECISIONS)]
    return "accuracy on the test part, mean of the seeds\n\n" + table(header, rows)


if __name__ == "__main__":
    sys.exit(main())
