"""Why the cell exists: a task with a long memory, by an LSTM and by an Elman RNN with the same budget.

Usage::

    python benchmarks/tasks.py                      five seeds; some minutes
    python benchmarks/tasks.py --seeds 1 --rnn-learning-rates 0.003
    python benchmarks/tasks.py --task order         a task that the RNN solves too
    python benchmarks/tasks.py --out                also writes benchmarks/results/tasks-….json

The tasks are after Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9 (1997), over 50 steps.

adding: experiment 4, as a question with two answers. Each step has a random number from 0 to 1 and a mark. Two numbers
are marked: one of the first ten, and another of the first 25. Is their sum above 1? The answer is asked for after the
last step, so both numbers have to outlive 25 or more steps of noise.

order: experiment 6a. Letters a to d at random, and among them two that are x or y, one early and one past the middle.
Which were they, in which order? Four answers. Two bits have to be kept, not two numbers.

Both cells have the same settings, the same data, the same order of it and as many updates. The RNN is also given other
learning rates, and is judged by the best of them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import numpy as np
from lib.command import add_seeds, finish, parser, table

from xlstm import SequenceClassifier

STEPS = 50
SETTINGS: dict[str, Any] = {
    "hidden_size": 32,
    "readout": "final",
    "learning_rate_init": 0.003,
    "learning_rate": "cosine",
    "batch_size": 64,
    "max_iter": 30,
    "device": "cpu",
}


def adding(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """n sequences (n, STEPS, 2) of numbers and marks; (n,) whether the two marked numbers add up to more than 1."""
    numbers, marks = rng.uniform(0, 1, (n, STEPS)), np.zeros((n, STEPS))
    rows, half = np.arange(n), STEPS // 2
    first = rng.integers(0, 10, n)
    second = (first + rng.integers(1, half, n)) % half  # any of the first half but the first
    marks[rows, first] = marks[rows, second] = 1
    return np.stack([numbers, marks], axis=2), numbers[rows, first] + numbers[rows, second] > 1


def order(n: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """n strings of STEPS letters, and which two of x and y stand in them."""
    letters, pairs = rng.choice(list("abcd"), (n, STEPS)), rng.choice(list("xy"), (n, 2))
    rows = np.arange(n)
    letters[rows, rng.integers(STEPS // 10, STEPS // 5, n)] = pairs[:, 0]
    letters[rows, rng.integers(STEPS // 2, STEPS * 6 // 10, n)] = pairs[:, 1]
    return ["".join(row) for row in letters], ["".join(row) for row in pairs]


TASKS = {"adding": (adding, 2), "order": (order, 4)}
"""The task and the number of its answers."""


def main() -> int:
    options = arguments()
    runs = []
    for seed in options.seeds:
        for cell in options.cells:
            for rate in [SETTINGS["learning_rate_init"]] if cell == "lstm" else options.rnn_learning_rates:
                runs.append(run(cell, rate, seed, options))
                print(
                    f"seed {seed}, {cell}, learning rate {rate:g}: test accuracy {runs[-1]['accuracy']:.3f}, "
                    f"{runs[-1]['seconds']:.1f} s",
                    file=sys.stderr,
                    flush=True,
                )
    kinds = list(dict.fromkeys((run["cell"], run["learning_rate"]) for run in runs))
    rows = []
    for cell, rate in kinds:
        mine = [run for run in runs if (run["cell"], run["learning_rate"]) == (cell, rate)]
        accuracies = [run["accuracy"] for run in mine]
        rows.append(
            [
                cell,
                f"{rate:g}",
                f"{statistics.mean(accuracies):.3f}",
                f"{min(accuracies):.3f}–{max(accuracies):.3f}",
                f"{statistics.mean(run['training_accuracy'] for run in mine):.3f}",
                f"{statistics.median(run['seconds'] for run in mine):.1f}",
            ]
        )
    text = (
        f"The task {options.task!r} over {STEPS} steps, {options.train} training and {options.test} test sequences, "
        f"{len(options.seeds)} seeds; guessing is right {1 / TASKS[options.task][1]:.2f} of the time.\n\n"
        + table(["cell", "learning rate", "test accuracy", "lowest–highest", "training accuracy", "seconds"], rows)
    )
    finish(options, "tasks", {"steps": STEPS, "classifier": SETTINGS, "runs": runs}, text)
    return 0


def arguments() -> argparse.Namespace:
    made = parser("tasks", __doc__)
    made.add_argument("--task", choices=TASKS, default="adding", help="default: adding")
    add_seeds(made)
    made.add_argument("--cells", type=lambda text: text.split(","), default=["lstm", "rnn"], help="lstm,rnn or one")
    made.add_argument(
        "--rnn-learning-rates", type=lambda text: [float(part) for part in text.split(",")],
        default=[0.003, 0.001, 0.0003], metavar="RATES", help="separated by commas (default: 0.003,0.001,0.0003)",
    )  # fmt: skip
    made.add_argument("--train", type=int, default=4000, help="sequences to train on (default: 4000)")
    made.add_argument("--test", type=int, default=2000, help="sequences to test on (default: 2000)")
    made.add_argument("--epochs", type=int, default=SETTINGS["max_iter"], help="passes over the training sequences")
    return made.parse_args()


def run(cell: str, rate: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(1000 + seed)
    draw, _ = TASKS[options.task]
    X, y = draw(options.train, rng)
    X_test, y_test = draw(options.test, rng)
    settings = SETTINGS | {"learning_rate_init": rate, "max_iter": options.epochs}
    classifier = SequenceClassifier(cell=cell, random_state=seed, **settings)
    begin = time.perf_counter()
    classifier.fit(X, y)
    seconds = time.perf_counter() - begin
    return {
        "cell": cell,
        "learning_rate": rate,
        "seed": seed,
        "accuracy": classifier.score(X_test, y_test),
        "training_accuracy": classifier.accuracy_curve_[-1],
        "seconds": seconds,
    }


if __name__ == "__main__":
    sys.exit(main())
