"""One training epoch of a whole job, through `SequenceClassifier` and written by hand in PyTorch.

Usage::

    pip install --no-deps aeon                      for JapaneseVowels: the files come with it; it is not imported
    python benchmarks/epochs.py
    python benchmarks/epochs.py --jobs names --rounds 2
    python benchmarks/epochs.py --out               also writes benchmarks/results/epochs-….json

Jobs: the embedded first names with the settings and the split of `xlstm train`, and JapaneseVowels with the settings of
datasets.py. Each is trained to its end once by each side: the same start, batch size, lengths within a batch, dropout,
token dropout, class weights, clipping, learning rate, Adam and number of epochs; only what is drawn at random differs.

PyTorch's side, in lib/torch_training.py, is written for speed. There are two ways to the last valid step, and ours is
set against the faster: `packed` by pack_padded_sequence, rows sorted; `gathered` runs over the padding and picks the
step out, a second direction being a layer on rows turned round beforehand.

First the loss and all gradients of a batch are compared with PyTorch in float64, without dropout: a wrong side is not
timed, and the exit code is 1. Then the sides take turns in blocks of epochs, as in README.md: a pause, an epoch that is
not counted, and the others of the block.

Of this library only what its users see takes part: a gradient is what one step of plain descent takes off the weights,
and the weights are read from the saved file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from lib.command import Row, choices, each, finish, parser, table, use_threads
from lib.errors import errors_of, told, within
from lib.harness import PAUSE, Rounds, of_all, speed
from lib.jobs import Job, first_names
from lib.torch_training import Encoder, Network, Padded, Training, step_of

from xlstm import SequenceClassifier, checkpoint

ASKED = {"names": 3.2, "JapaneseVowels": 3.5}
"""So many times as fast as PyTorch an epoch is to be."""
OURS = "xlstm"
WAYS = ("packed", "gathered")


def main() -> int:
    options = arguments()
    use_threads(options.threads)
    rows, failed = each(options.jobs, dict.fromkeys(ASKED, ""), lambda name: measure(name, options))
    finish(options, "epochs", {"rows": rows, "torch_threads": torch.get_num_threads()}, text(rows))
    return failed


def arguments() -> argparse.Namespace:
    made = parser("epochs", __doc__)
    made.add_argument("--jobs", type=choices(list(ASKED)), default=list(ASKED), help=f"default: {','.join(ASKED)}")
    made.add_argument("--rounds", type=int, default=6, help="blocks of each side (default: 6)")
    made.add_argument("--epochs", type=int, help="for a quick look (default: as many as the job has)")
    made.add_argument("--seed", type=int, default=0, help="of weights, order and dropout (default: 0)")
    made.add_argument("--threads", type=int, default=2, help="of both sides (default: 2)")
    datasets.add_folder(made)
    return made.parse_args()


def job_of(name: str, folder: Path | None) -> Job:
    if name == "names":
        return first_names()
    training, test = datasets.parts(name, folder)
    # What the classifier chooses by itself, said to both sides: a 128th of the rows, but 32, and 1000 updates.
    n, rows = len(training[0]), 32
    settings = {**datasets.SETTINGS, "readout": "final", "batch_size": rows, "max_iter": -(-1000 // -(-n // rows))}
    return Job(settings, *training, *test)


# ---------------------------------------------------------------- ours


def weights_of(classifier: SequenceClassifier) -> Any:
    """All parameters, one after another: embedding, layers, head."""
    with tempfile.TemporaryDirectory() as folder:
        classifier.save(Path(folder, "model"))
        return checkpoint.read_file(Path(folder, "model")).arrays[0]


def our_start_and_step(job: Job, seed: int, rows: Any) -> tuple[Any, dict[str, Any]]:
    """The weights that training starts from; and loss and gradient of these rows, without dropout."""
    step = 1e4  # so long that what it takes off the weights is far larger than they are: else it would be rounded away
    plain = {"solver": "sgd", "momentum": 0.0, "learning_rate": "constant", "max_grad_norm": None, "dropout": 0.0,
             "token_dropout": 0.0, "batch_size": len(rows), "learning_rate_init": 1e-30}  # fmt: skip
    classifier = SequenceClassifier(**{**job.settings, **plain}, device="cpu", random_state=seed)
    classifier.partial_fit(job.X, job.y)  # moves nothing
    start = weights_of(classifier)
    classifier.set_params(learning_rate_init=step)
    classifier.partial_fit([job.X[k] for k in rows], [job.y[k] for k in rows])
    return start, {"loss": classifier.loss_, "d": (start - weights_of(classifier)) / step}


class EachLine(io.TextIOBase):
    """A stream that calls a function at the end of each line: a classifier with verbose=True writes one an epoch."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self.ended = ended

    def write(self, text: str) -> int:
        if text.endswith("\n"):
            self.ended()
        return len(text)


# ---------------------------------------------------------------- both sides


def measure(name: str, options: argparse.Namespace) -> Row:
    job = job_of(name, options.folder)
    if options.epochs:
        job.settings["max_iter"] = options.epochs
    classifier = SequenceClassifier(**job.settings, device="cpu", random_state=options.seed, verbose=True)
    settings, encoder, classes = classifier.get_params(), Encoder(job.X), np.unique(job.y)
    outputs = 1 if len(classes) == 2 else len(classes)

    def padded(X: list[Any], y: list[Any], whole: bool = True) -> Padded:
        weights = np.array([(settings["class_weight"] or {}).get(label, 1.0) for label in y])
        weights = weights / weights.mean() if whole else weights  # those of a part, in partial_fit, count as they are
        return Padded([encoder(x) for x in X], np.searchsorted(classes, y), weights)

    def network(way: str, dropout: float) -> Network:
        made = Network(encoder, settings, outputs, way, dropout)
        made.write(start)
        return made

    n, size = len(job.y), settings["batch_size"]
    few = sorted(range(size), key=lambda k: -len(job.X[k]))  # longest first
    start, ours = our_start_and_step(job, options.seed, few)
    one_batch = padded([job.X[k] for k in few], [job.y[k] for k in few], whole=False)
    true = step_of(network("gathered", 0.0).double(), one_batch)
    errors = {OURS: errors_of(ours, true)}
    errors |= {way: errors_of(step_of(network(way, 0.0), one_batch), true) for way in WAYS}
    result: Row = {
        "job": name,
        "n_train": n,
        "n_test": len(job.y_test),
        "classifier": job.settings,
        "batch_size": size,
        "batches": -(-n // size),
        "epochs": settings["max_iter"],
        "parameters": int(start.size),
        "errors": errors,
        "correct": all(map(within, errors.values())),
    }
    if not result["correct"]:
        return result

    rows, test, theirs = padded(job.X, job.y), padded(job.X_test, job.y_test), {}
    for number, way in enumerate(WAYS):
        torch.manual_seed(options.seed)
        theirs[way] = Training(network(way, settings["dropout"]), rows, settings, options.seed + number)
    times = in_turns(classifier, job, theirs, -(-settings["max_iter"] // options.rounds))
    seconds = {side: of_all(times[side]) for side in times}
    best = min(theirs, key=lambda way: seconds[way]["median"])
    factors = {way: speed(times[way], times[OURS]) for way in theirs}
    return {
        **result,
        "kernels": classifier.kernels_,
        "seconds": seconds,
        "times_as_fast": factors,
        "against": best,
        "asked": ASKED[name],
        "got": factors[best]["median"],
        "training_loss": {OURS: classifier.loss_, **{way: side.losses[-1] for way, side in theirs.items()}},
        "training_accuracy": {
            OURS: classifier.accuracy_curve_[-1],
            **{way: side.accuracies[-1] for way, side in theirs.items()},
        },
        "test_accuracy": {
            OURS: classifier.score(job.X_test, job.y_test),
            **{way: side.score(test) for way, side in theirs.items()},
        },
    }


def in_turns(classifier: SequenceClassifier, job: Job, theirs: dict[str, Training], length: int) -> dict[str, Rounds]:
    """Train all sides to their end, `length` epochs in turn; the seconds of each epoch but the first of a block."""
    times: dict[str, Rounds] = {OURS: [], **{way: [] for way in theirs}}
    ours: list[float] = []
    ended, begin = 0, 0.0

    # The others take their turns between two of our epochs.
    def epoch_ended() -> None:
        nonlocal ended, begin
        ours.append(time.perf_counter() - begin)
        ended += 1
        if len(ours) == length or ended == classifier.max_iter:
            if len(ours) > 1:  # a block of one epoch has none that counts
                times[OURS].append(ours[1:])
            for way, side in theirs.items():
                seconds = block(side, len(ours))
                if len(ours) > 1:
                    times[way].append(seconds[1:])
            ours.clear()
            time.sleep(PAUSE)
        begin = time.perf_counter()

    def block(side: Training, epochs: int) -> list[float]:
        time.sleep(PAUSE)
        seconds = []
        for _ in range(epochs):
            begin = time.perf_counter()
            side.epoch()
            seconds.append(time.perf_counter() - begin)
        return seconds

    with contextlib.redirect_stderr(EachLine(epoch_ended)):
        time.sleep(PAUSE)
        begin = time.perf_counter()
        classifier.fit(job.X, job.y)
    return times


# ---------------------------------------------------------------- for people


def text(rows: list[Row]) -> str:
    return "\n\n".join(part for row in rows for part in of_job(row))


def of_job(row: Row) -> Iterator[str]:
    yield (
        f"{row['job']}: {row['n_train']} rows, {row['batches']} batches of {row['batch_size']}, "
        f"{row['parameters']} parameters, {row['epochs']} epochs, kernels {row.get('kernels')}, "
        f"{torch.get_num_threads()} threads"
    )
    lines = []
    for side, error in row["errors"].items():
        line = [side if side == OURS else f"torch, {side}", told(error.values())]
        if row["correct"]:
            seconds = row["seconds"][side]
            low, high = (1e3 * value for value in seconds["quartiles"])
            line += [
                f"{1e3 * seconds['median']:.2f} ({low:.2f}–{high:.2f})",
                f"{1e6 * seconds['median'] / row['batches']:.0f}",
                "" if side == OURS else factor(row["times_as_fast"][side]),
                f"{row['training_loss'][side]:.4f}, {row['training_accuracy'][side]:.4f}",
                f"{row['test_accuracy'][side]:.4f}",
            ]
        else:
            line += ["" if within(error) else "WRONG", "", "", "", ""]
        lines.append(line)
    header = ["", "errors", "an epoch, ms", "a batch, µs", "xlstm is faster by", "training loss, accuracy", "test"]
    yield table(header, lines)
    if row["correct"]:
        yield f"asked {row['asked']:.1f} times as fast, got {row['got']:.2f} (against {row['against']})"


def factor(times_as_fast: dict[str, float]) -> str:
    """The median of the rounds, and their ends."""
    return f"{times_as_fast['median']:.2f} ({times_as_fast['lowest']:.2f}–{times_as_fast['highest']:.2f})"


if __name__ == "__main__":
    sys.exit(main())
