"""One training epoch of a whole job, through `SequenceClassifier` and written by hand in PyTorch.

Usage::

    pip install --no-deps aeon                      for JapaneseVowels: the files come with it; it is not imported
    python benchmarks/epochs.py
    python benchmarks/epochs.py --jobs names --rounds 2
    python benchmarks/epochs.py --out               also writes benchmarks/results/epochs-….json

Jobs: the embedded first names with the settings and the split of `xlstm train`, and JapaneseVowels with the settings of
datasets.py. Each is trained to its end once by each side: the same start, batch size, lengths within a batch, dropout,
token dropout, class weights, clipping, learning rate, Adam and number of epochs; only what is drawn at random differs.

PyTorch is written for speed: no DataLoader, all tensors made and padded beforehand, time first, fused Adam, clipping of
all gradients together, one bias (the second stays zero and gets no gradient), nothing read back within an epoch. There
are two ways to the last valid step, and ours is set against the faster: `packed` by pack_padded_sequence, rows sorted;
`gathered` runs over the padding and picks the step out, a second direction being a layer on rows turned round
beforehand.

First the loss and all gradients of a batch are compared with float64, without dropout: a wrong side is not timed, and
the exit code is 1. Then the sides take turns in blocks of epochs, as in README.md: a pause, an epoch that is not
counted, and the others of the block.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
from common import choices, finish, parser, spread, table, use_threads
from torch import nn
from torch.nn import functional

from xlstm import SequenceClassifier, batch, cli, data, sequences, train
from xlstm.batch import Encoded
from xlstm.fitted import Fitted
from xlstm.labels import mean_one
from xlstm.model import Architecture, Model
from xlstm.seeds import own_generator

ASKED = {"names": 3.0, "JapaneseVowels": 2.0}
"""So many times as fast as PyTorch an epoch is to be."""
OURS = "xlstm"
PAUSE = 0.06
TOLERANCE = {"loss": 5e-6, "gradient": 1e-5}
"""Relative, in the Frobenius norm, against float64."""


class Job(NamedTuple):
    """A classifier's settings, and its data: all of training, then all of the test."""

    settings: dict[str, Any]
    X: list[Any]
    y: list[Any]
    X_test: list[Any]
    y_test: list[Any]


def main() -> int:
    options = arguments()
    use_threads(options.threads)
    rows, wrong = [], False
    for name in options.jobs:
        print(f"{name} ...", file=sys.stderr, flush=True)
        row = measure(name, options)
        wrong = wrong or not row["correct"]
        rows.append(row)
    finish(options, "epochs", {"rows": rows, "torch_threads": torch.get_num_threads()}, text(rows))
    return int(wrong)


def arguments() -> argparse.Namespace:
    made = parser("epochs", __doc__)
    made.add_argument("--jobs", type=choices(list(ASKED)), default=list(ASKED), help=f"default: {','.join(ASKED)}")
    made.add_argument("--rounds", type=int, default=6, help="blocks of each side (default: 6)")
    made.add_argument("--epochs", type=int, help="for a quick look (default: as many as the job has)")
    made.add_argument("--seed", type=int, default=0, help="of weights, order and dropout (default: 0)")
    made.add_argument("--threads", type=int, default=2, help="of both sides (default: 2)")
    return made.parse_args()


def job_of(name: str) -> Job:
    if name == "names":
        texts, labels = data.first_names()
        numbers = np.unique(labels, return_inverse=True)[1]
        kept, aside = batch.stratified_split(numbers, 0.2, np.random.default_rng(0))
        part = [[values[k] for k in rows] for rows in (kept, aside) for values in (texts, labels)]
        return Job(cli.NAMES_SETTINGS, *part)
    folder = datasets.folder_of_aeon() / name
    part = [values for end in ("TRAIN", "TEST") for values in datasets.read_ts(folder / f"{name}_{end}.ts")]
    return Job(datasets.SETTINGS, *part)


# ---------------------------------------------------------------- PyTorch's side


class Padded:
    """Labelled rows as tensors, time first: `steps` (T, n, D) or (T, n), and the same with each row turned round."""

    def __init__(self, encoded: Encoded, labels: Any, weights: Any) -> None:
        self.host_lengths = encoded.lengths
        self.lengths = torch.from_numpy(encoded.lengths.astype(np.int64))
        self.labels, self.weights = torch.from_numpy(labels), torch.from_numpy(weights.astype(np.float32))
        T = int(encoded.lengths.max())
        shape = (T, len(labels), *encoded.steps.shape[1:])
        self.steps = torch.from_numpy(np.zeros(shape, encoded.steps.dtype))
        self.turned = torch.zeros_like(self.steps)
        for row, (start, length) in enumerate(zip(encoded.starts, encoded.lengths, strict=True)):
            values = torch.from_numpy(encoded.steps[start : start + length])
            self.steps[:length, row], self.turned[:length, row] = values, values.flip(0)

    def take(self, rows: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Steps, turned steps, lengths and number of each of these rows, longest first; no longer than the first."""
        chosen = torch.from_numpy(rows)
        T = int(self.host_lengths[rows[0]])
        return self.steps[:T].index_select(1, chosen), self.turned, self.lengths.index_select(0, chosen), chosen


class Network(nn.Module):
    """Embedding → LSTM → final valid step → dropout → linear, in the way named `packed` or `gathered`."""

    def __init__(self, a: Architecture, way: str) -> None:
        super().__init__()
        self.way, self.dropout, self.bidirectional = way, a.dropout, a.bidirectional
        self.embedding = nn.Embedding(a.input_size, a.embedding_size, padding_idx=0) if a.embedding_size else None
        # A layer over each direction, where PyTorch's own second direction would begin with the padding.
        apart = way == "gathered" and a.bidirectional
        if apart and (a.num_layers > 1 or a.tokens):
            raise ValueError("gathered: two directions are one layer of features only")
        D = a.embedding_size or a.input_size
        self.layers = nn.ModuleList(
            nn.LSTM(
                D,
                a.hidden_size,
                num_layers=a.num_layers,
                bidirectional=a.bidirectional and not apart,
                dropout=a.dropout if a.num_layers > 1 else 0.0,
            )
            for _ in range(2 if apart else 1)
        )
        for name, parameter in self.layers.named_parameters():
            if "bias_hh" in name:
                nn.init.zeros_(parameter)
                parameter.requires_grad_(False)
        self.head = nn.Linear(a.hidden_size * (2 if a.bidirectional else 1), a.outputs)
        # In the order of our buffer.
        self.trained = [parameter for parameter in self.parameters() if parameter.requires_grad]

    def write(self, flat: Any) -> None:
        """Take all parameters from our buffer."""
        parts = torch.from_numpy(flat).to(self.trained[0].dtype).split([p.numel() for p in self.trained])
        with torch.no_grad():
            for parameter, values in zip(self.trained, parts, strict=True):
                parameter.copy_(values.view_as(parameter))

    def forward(self, padded: Padded, rows: Any, token_dropout: float = 0.0) -> torch.Tensor:
        """Logits (N, K) of these rows, longest first."""
        x, turned, lengths, chosen = padded.take(rows)
        if self.embedding is not None:
            if token_dropout:
                x.masked_fill_(torch.rand(x.shape) < token_dropout, 0)
            x = self.embedding(x)
        if self.way == "packed":
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=True)
            _, (h, _) = self.layers[0](packed)
            final = torch.cat((h[-2], h[-1]), 1) if self.bidirectional else h[-1]
        else:
            T, N = x.shape[:2]
            last = (lengths - 1) * N + torch.arange(N)
            sides = [x, turned[:T].index_select(1, chosen)] if self.bidirectional else [x]
            finals = [
                layer(side)[0].flatten(0, 1).index_select(0, last)
                for layer, side in zip(self.layers, sides, strict=True)
            ]
            final = torch.cat(finals, 1) if self.bidirectional else finals[0]
        return self.head(functional.dropout(final, self.dropout, self.training))


def loss_of(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """As ours: Σ weight · loss / N; `weights` None where all are 1."""
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype), weights)
    if weights is None:
        return functional.cross_entropy(logits, labels)
    return (functional.cross_entropy(logits, labels, reduction="none") * weights).mean()


def right(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many."""
    found = (logits[:, 0] > 0).to(labels.dtype) if logits.shape[1] == 1 else logits.argmax(1)
    return (found == labels).sum()


class Training:
    """PyTorch's training, an epoch at a time."""

    def __init__(self, network: Network, rows: Padded, settings: train.Settings, classifier: Any, seed: int) -> None:
        self.network, self.rows, self.settings = network, rows, settings
        self.optimizer = torch.optim.Adam(
            network.trained,
            settings.learning_rate,
            betas=(classifier.beta_1, classifier.beta_2),
            eps=classifier.epsilon,
            fused=True,
        )
        self.rng = np.random.default_rng(seed)
        self.weighted = bool((rows.weights != 1).any())
        self.updates = 0
        self.total = settings.epochs * -(-len(rows.labels) // settings.batch_size)
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def epoch(self) -> None:
        network, rows, settings, optimizer = self.network, self.rows, self.settings, self.optimizer
        network.train()
        n = len(rows.labels)
        losses, hits = [], []
        for chosen in batch.shuffled(rows.host_lengths, settings.batch_size, self.rng):
            chosen = chosen[::-1].copy()  # longest first
            numbers = torch.from_numpy(chosen)
            labels = rows.labels.index_select(0, numbers)
            logits = network(rows, chosen, settings.token_dropout)
            loss = loss_of(logits, labels, rows.weights.index_select(0, numbers) if self.weighted else None)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if settings.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(network.trained, settings.max_grad_norm, foreach=True)
            if settings.schedule == "cosine":
                optimizer.param_groups[0]["lr"] = (
                    settings.learning_rate * 0.5 * (1 + math.cos(math.pi * self.updates / self.total))
                )
            optimizer.step()
            self.updates += 1
            losses.append(loss.detach() * len(chosen))
            hits.append(right(logits.detach(), labels))
        sums = torch.stack((torch.stack(losses).sum(), torch.stack(hits).sum())).tolist()
        if not math.isfinite(sums[0]):
            raise FloatingPointError("training diverged")
        self.losses.append(sums[0] / n)
        self.accuracies.append(sums[1] / n)

    def score(self, rows: Padded) -> float:
        """Accuracy without dropout."""
        self.network.eval()
        order = np.argsort(-rows.host_lengths, kind="stable")
        with torch.inference_mode():
            return float(right(self.network(rows, order), rows.labels[order])) / len(order)


# ---------------------------------------------------------------- both sides


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    job = job_of(name)
    settings = {**job.settings, "random_state": options.seed, "device": "cpu"}
    if options.epochs:
        settings["max_iter"] = options.epochs
    classifier = SequenceClassifier(**settings)
    classifier.check_parameters()
    # Only for what it makes of the data: encoder, numbers of the classes, architecture.
    fitted = SequenceClassifier(**{**settings, "max_iter": 1}).fit(job.X, job.y).fitted_state()
    rows = padded(fitted, job.X, job.y)
    test = padded(fitted, job.X_test, job.y_test)
    start = Model(fitted.model.architecture, fitted.model.backend, "auto", own_generator(options.seed)).read()
    n = len(job.y)
    batch_size = batch.size_for(n, classifier.batch_size)
    plan = train.Settings(
        epochs=classifier.max_iter or train.epochs_for(n, batch_size),
        batch_size=batch_size,
        learning_rate=classifier.learning_rate_init,
        schedule=classifier.learning_rate,
        warmup=0,
        max_grad_norm=classifier.max_grad_norm,
        token_dropout=classifier.token_dropout,
        patience=None,
        tol=0.0,
    )
    errors = compare(fitted, start, rows, encoded_of(fitted, job.X), plan.batch_size)
    result: dict[str, Any] = {
        "job": name,
        "n_train": n,
        "n_test": len(job.y_test),
        "classifier": job.settings,
        "batch_size": plan.batch_size,
        "batches": -(-n // plan.batch_size),
        "epochs": plan.epochs,
        "parameters": int(start.size),
        "kernels": fitted.model.recurrent.kernels,
        "errors": errors,
        "correct": all(error[kind] <= limit for error in errors.values() for kind, limit in TOLERANCE.items()),
    }
    if not result["correct"]:
        return result

    theirs = {}
    for number, way in enumerate(("packed", "gathered")):
        torch.manual_seed(options.seed)
        network = Network(fitted.model.architecture, way)
        network.write(start)
        theirs[way] = Training(network, rows, plan, classifier, options.seed + number)
    blocks = in_turns(classifier, job, theirs, -(-plan.epochs // options.rounds))

    seconds = {side: spread([time for block in blocks for time in block[side]]) for side in blocks[0]}
    best = min(theirs, key=lambda way: seconds[way]["median"])
    # A ratio of each round, whose blocks were measured within the same seconds.
    ratios = {
        way: [statistics.median(block[way]) / statistics.median(block[OURS]) for block in blocks] for way in theirs
    }
    return {
        **result,
        "seconds": seconds,
        "times_as_fast": {
            way: {"median": statistics.median(values), "rounds": values} for way, values in ratios.items()
        },
        "against": best,
        "asked": ASKED[name],
        "got": statistics.median(ratios[best]),
        "training_loss": {OURS: classifier.loss_curve_[-1], **{way: side.losses[-1] for way, side in theirs.items()}},
        "training_accuracy": {
            OURS: classifier.accuracy_curve_[-1],
            **{way: side.accuracies[-1] for way, side in theirs.items()},
        },
        "test_accuracy": {
            OURS: classifier.score(job.X_test, job.y_test),
            **{way: side.score(test) for way, side in theirs.items()},
        },
    }


def encoded_of(fitted: Fitted, X: list[Any]) -> Encoded:
    return fitted.encoded(sequences.read(X, "auto"))


def padded(fitted: Fitted, X: list[Any], y: list[Any]) -> Padded:
    labels = fitted.task.read(y, len(y))
    weights = mean_one(fitted.task.weights(labels, None))
    return Padded(encoded_of(fitted, X), labels, weights)


def in_turns(
    classifier: SequenceClassifier, job: Job, theirs: dict[str, Training], length: int
) -> list[dict[str, list[float]]]:
    """Train all sides to their end, `length` epochs in turn; the seconds of each epoch but the first of a block."""
    blocks: list[dict[str, list[float]]] = []
    ours: list[float] = []
    begin = 0.0

    # The classifier's fit calls this after each epoch: so a whole epoch is timed, and the others take their turns here.
    def epoch_ended(epoch: int, epochs: int, history: train.History) -> None:
        nonlocal begin
        ours.append(time.perf_counter() - begin)
        if len(ours) == length or epoch == epochs:
            blocks.append({OURS: ours[1:], **{way: block(side, len(ours)) for way, side in theirs.items()}})
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
        return seconds[1:]

    time.sleep(PAUSE)
    begin = time.perf_counter()
    classifier.progress = epoch_ended
    classifier.fit(job.X, job.y)
    return [block for block in blocks if block[OURS]]  # a block of one epoch has none that counts


# ---------------------------------------------------------------- correct before timed


def compare(fitted: Fitted, start: Any, rows: Padded, encoded: Encoded, batch_size: int) -> dict[str, dict[str, float]]:
    """The errors of each side in the loss and in all gradients of one batch of unlike lengths, without dropout."""
    chosen = np.arange(batch_size)
    chosen = chosen[np.argsort(-encoded.lengths[chosen], kind="stable")]
    labels, weights = rows.labels.numpy()[chosen], rows.weights.numpy()[chosen]

    def ours(dtype: str, kernels: str) -> tuple[float, Any]:
        architecture = fitted.model.architecture._replace(dropout=0.0, dtype=dtype)
        model = Model(architecture, fitted.model.backend, kernels, None)
        model.write(start.astype(dtype))
        given = train.on_device(model, encoded._replace(steps=cast(encoded.steps, dtype)), chosen)
        logits, tape = model.forward(given, np.random.default_rng(0))
        loss, d_logits = fitted.task.loss(logits, labels, weights.astype(dtype))
        model.backward(tape, d_logits)
        return float(loss), model.gradients.flat

    def torchs(way: str) -> tuple[float, Any]:
        network = Network(fitted.model.architecture._replace(dropout=0.0), way)
        network.write(start)
        loss = loss_of(network(rows, chosen), torch.from_numpy(labels), torch.from_numpy(weights))
        gradients = torch.autograd.grad(loss, network.trained)
        return float(loss.detach()), torch.cat([gradient.flatten() for gradient in gradients]).numpy()

    loss, gradient = ours("float64", "reference")
    sides = {OURS: ours("float32", "auto"), **{way: torchs(way) for way in ("packed", "gathered")}}
    return {
        side: {
            "loss": abs(got - loss) / abs(loss),
            "gradient": float(np.linalg.norm(flat - gradient) / np.linalg.norm(gradient)),
        }
        for side, (got, flat) in sides.items()
    }


def cast(steps: Any, dtype: str) -> Any:
    """Features in this dtype; tokens as they are."""
    return steps.astype(dtype) if steps.dtype.kind == "f" else steps


# ---------------------------------------------------------------- for people


def text(rows: list[dict[str, Any]]) -> str:
    return "\n\n".join(part for row in rows for part in of_job(row))


def of_job(row: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{row['job']}: {row['n_train']} rows, {row['batches']} batches of {row['batch_size']}, "
        f"{row['parameters']} parameters, {row['epochs']} epochs, kernels {row['kernels']}, "
        f"{torch.get_num_threads()} threads"
    )
    lines = []
    for side, error in row["errors"].items():
        line = [side if side == OURS else f"torch, {side}", f"{error['loss']:.0e}, {error['gradient']:.0e}"]
        if row["correct"]:
            seconds = row["seconds"][side]
            low, high = (1e3 * value for value in seconds["quartiles"])
            line += [
                f"{1e3 * seconds['median']:.2f} ({low:.2f}–{high:.2f})",
                f"{1e6 * seconds['median'] / row['batches']:.0f}",
                "" if side == OURS else speed(row["times_as_fast"][side]),
                f"{row['training_loss'][side]:.4f}, {row['training_accuracy'][side]:.4f}",
                f"{row['test_accuracy'][side]:.4f}",
            ]
        else:
            line += ["WRONG" if any(error[k] > limit for k, limit in TOLERANCE.items()) else "", "", "", "", ""]
        lines.append(line)
    header = ["", "errors", "an epoch, ms", "a batch, µs", "xlstm is faster by", "training loss, accuracy", "test"]
    yield table(header, lines)
    if row["correct"]:
        yield f"asked {row['asked']:.1f} times as fast, got {row['got']:.2f} (against {row['against']})"


def speed(times_as_fast: dict[str, Any]) -> str:
    """The median of the rounds, and their ends."""
    rounds = times_as_fast["rounds"]
    return f"{times_as_fast['median']:.2f} ({min(rounds):.2f}–{max(rounds):.2f})"


if __name__ == "__main__":
    sys.exit(main())
