"""The command line: train, predict, evaluate, bench, devices, check.

Progress and notices go to stderr, results to stdout; with --json exactly one line there, one JSON object. Exit codes: 0
for success, 1 for what failed while running (one line on stderr, no traceback), 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, backends, batch, bench, data, gradcheck, tables
from .cells import CELLS
from .encode import TokenEncoder
from .estimators.classifier import SequenceClassifier
from .estimators.state import load
from .files import check_target
from .layers import layer_of
from .progress import ProgressBar

NAMES_MODEL = "names.xlstm"

NAMES_SETTINGS: dict[str, Any] = {
    "num_layers": 2,
    "embedding_size": 16,
    "dropout": 0.3,
    "token_dropout": 0.1,
    "learning_rate": "cosine",
    "learning_rate_init": 0.003,
    "batch_size": 64,
    "max_iter": 30,
    "class_weight": {"male": 1.5},
}
"""What `xlstm train` without data sets apart from the classifier's defaults."""


class Failure(Exception):
    """Something to tell in one line, with exit code 1."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's arguments where none are given. Returns the exit code."""
    parser = _parser()
    # Of `predict MODEL --json TEXT` argparse leaves the texts over: it takes a list that may be empty for empty there.
    options, left = parser.parse_known_args(arguments)
    end = left.index("--") if "--" in left else len(left)
    if left and (not hasattr(options, "texts") or any(text.startswith("-") for text in left[:end])):
        parser.error(f"unrecognized arguments: {' '.join(left)} (a text that begins with - goes after a --)")
    if left:
        options.texts += left[:end] + left[end + 1 :]
    notices = logging.StreamHandler(sys.stderr)
    notices.setFormatter(logging.Formatter("xlstm: %(message)s"))
    logger = logging.getLogger("xlstm")
    logger.addHandler(notices)
    try:
        text, values = options.run(options)
        print(json.dumps(values) if options.json else text, flush=True)
        return int(values.get("exit_code", 0)) if isinstance(values, dict) else 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("xlstm: interrupted", file=sys.stderr)
        return 1
    except (Failure, ValueError, TypeError, OSError, RuntimeError, ArithmeticError, MemoryError, ImportError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        print(f"xlstm: error: {message}", file=sys.stderr)
        return 1
    finally:
        logger.removeHandler(notices)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xlstm", description="Train and use a recurrent network that classifies sequences."
    )
    parser.add_argument("--version", action="version", version=f"xp-lstm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Any], tuple[str, Any]], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
        sub.add_argument("--device", type=_device, help="auto, cpu, cuda or cuda:N (default: XLSTM_DEVICE, else auto)")
        return sub

    train = command("train", _train, "train a classifier on the embedded first names, or on a CSV or TSV file")
    train.epilog = (
        "Settings that are not given are the classifier's defaults (see xlstm.SequenceClassifier); for the embedded "
        "names, " + ", ".join(f"{name} {value}" for name, value in NAMES_SETTINGS.items())
    )
    train.add_argument("data", nargs="?", help="CSV or TSV file with a header (default: the embedded first names)")
    _columns(train)
    train.add_argument("--words", action="store_true", help="tokens are words, split at white space, not characters")
    train.add_argument(
        "--out",
        help=f"the model's file, replaced if there is one (default: {NAMES_MODEL}, or the data's name with .xlstm)",
    )
    train.add_argument("--seed", type=_seed, default=0, help="of the split, the weights and the order (default: 0)")
    train.add_argument(
        "--test-fraction", type=_number(0, 1), default=0.2, metavar="F", help="part held out (default: 0.2)"
    )
    train.add_argument("--cell", choices=tuple(CELLS), default="lstm")
    for flag, kind, help in (
        ("--hidden-size", _count, "size of the state"),
        ("--num-layers", _count, "stacked layers"),
        ("--embedding-size", _count, "size of a learned embedding of tokens"),
        ("--dropout", _number(0, 1, low_too=True), "fraction set to zero in training"),
        ("--epochs", _count, "passes over the data (default: enough for 1000 updates, 20 to 400)"),
        ("--batch-size", _count, "sequences a batch"),
        ("--learning-rate", _number(0, np.inf), "the highest learning rate"),
    ):
        train.add_argument(flag, type=kind, metavar="N" if kind is _count else "X", help=help)
    train.add_argument("--bidirectional", action="store_true", help="read in both directions")
    train.add_argument("--class-weight", choices=("balanced",), help="weigh classes by the inverse of their frequency")

    predict = command("predict", _predict, "classify texts")
    predict.add_argument("model", help="a file that train wrote")
    predict.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts to classify (default: lines of standard input)"
    )

    evaluate = command("evaluate", _evaluate, "measure a model on labelled texts")
    evaluate.add_argument("model", help="a file that train wrote")
    evaluate.add_argument("data", help="CSV or TSV file with a header")
    _columns(evaluate)

    command("bench", _bench, "time forward and training step of each backend on this machine")
    command("devices", _devices, "list the devices of this machine, which is used, and why not the others")
    check = command("check", _check, "check the gradients of every backend of this machine against finite differences")
    check.add_argument("--seed", type=_seed, default=0, help="of the random inputs (default: 0)")
    return parser


def _columns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", default="text", metavar="COLUMN", help="the column of the texts (default: text)")
    parser.add_argument("--label", default="label", metavar="COLUMN", help="the column of the labels (default: label)")


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be an integer of 0 or more, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be an integer of 1 or more, got {text!r}")
    return int(text)


def _number(low: float, high: float, low_too: bool = False) -> Callable[[str], float]:
    """The type of a flag: a number between `low` and `high`, or `low` itself."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not (low < value < high or (low_too and value == low)):
            least = f"{low} or more" if low_too else f"above {low}"
            raise argparse.ArgumentTypeError(f"must be a number {least}, below {high}, got {text!r}")
        return value

    return number


def _device(text: str) -> str:
    if not backends.is_device(text):
        raise argparse.ArgumentTypeError(f"must be auto, cpu, cuda or cuda:N, got {text!r}")
    return text


# ---------------------------------------------------------------- train, predict, evaluate


def _train(options: Any) -> tuple[str, dict[str, Any]]:
    if options.data is None:
        texts, labels = data.first_names()
        path = Path(options.out or NAMES_MODEL)
        settings = dict(NAMES_SETTINGS)
    else:
        texts, labels = tables.read(Path(options.data), options.text, options.label)
        path = Path(options.out or Path(options.data).with_suffix(".xlstm").name)
        settings = {}
    held_out = path.with_name((path.stem if path.suffix == ".xlstm" else path.name) + ".held-out.csv")
    for target in (path, held_out):
        check_target(target)
        if options.data is not None and target.resolve() == Path(options.data).resolve():
            raise Failure(f"the result would overwrite the data {options.data}: name another file by --out")
    given = {
        "hidden_size": options.hidden_size,
        "num_layers": options.num_layers,
        "embedding_size": options.embedding_size,
        "dropout": options.dropout,
        "max_iter": options.epochs,
        "batch_size": options.batch_size,
        "learning_rate_init": options.learning_rate,
        "class_weight": options.class_weight,
    }
    settings |= {name: value for name, value in given.items() if value is not None}
    settings |= {"cell": options.cell, "bidirectional": options.bidirectional}
    classifier = SequenceClassifier(device=options.device, random_state=options.seed, **settings)
    X = [text.split() for text in texts] if options.words else texts
    for row, tokens in enumerate(X):
        if not tokens:
            raise Failure(f"row {row + 1} of the data has an empty text")

    names, numbers = np.unique(labels, return_inverse=True)
    try:
        kept, aside = batch.stratified_split(numbers, options.test_fraction, np.random.default_rng(options.seed))
    except ValueError as error:
        raise Failure(f"{options.data}: {error} Is {options.label!r} the column of the labels?") from None
    begin = time.perf_counter()
    with ProgressBar() as progress:
        classifier.progress = progress
        classifier.fit([X[k] for k in kept], [labels[k] for k in kept])
        classifier.progress = None
    seconds = time.perf_counter() - begin
    predicted = classifier.predict([X[k] for k in aside])
    scores = _scores([labels[k] for k in aside], predicted)

    classifier.save(path)
    tables.write(held_out, [("text", "label"), *((texts[k], labels[k]) for k in aside)])
    values = {
        **scores,
        "n_test": len(aside),
        "seconds": seconds,
        "device": classifier.device_,
        "kernels": classifier.kernels_,
        "model": str(path),
        "held_out": str(held_out),
    }
    examples = "Olga Ivan" if options.data is None else f"-- {shlex.quote(_example(texts, aside))}"
    text = (
        f"accuracy {scores['accuracy']:.4f}, balanced {scores['balanced_accuracy']:.4f}, on {len(aside)} "
        f"held-out texts ({held_out})\n"
        f"trained {classifier.n_iter_} epochs on {len(kept)} texts of {len(names)} classes in {seconds:.1f} s\n"
        f"device: {classifier.device_}, kernels: {classifier.kernels_}\n"
        f"model: {path}\n"
        f"next: xlstm predict {shlex.quote(str(path))} {examples}"
    )
    return text, values


def _example(texts: list[str], rows: Iterable[int]) -> str:
    """A text that can be typed: the first short one that prints."""
    shown = (texts[k] for k in rows if len(texts[k]) <= 60 and texts[k].isprintable())
    return next(shown, "some text")


def _predict(options: Any) -> tuple[str, dict[str, Any]]:
    classifier = _classifier(options)
    texts = options.texts or [line.rstrip("\r\n") for line in sys.stdin or ()]
    if not texts:
        raise Failure("there is nothing to classify: give texts as arguments, or lines on standard input")
    X = _tokens(classifier, texts)
    probabilities = classifier.predict_proba(X)
    best = probabilities.argmax(axis=1)
    labels = [str(label) for label in classifier.classes_[best]]
    width = max(map(len, texts))
    text = "\n".join(
        f"{text:<{width}}  {label}  {row[k]:.3f}"
        for text, label, row, k in zip(texts, labels, probabilities, best, strict=True)
    )
    classes = [str(label) for label in classifier.classes_]
    rows = [
        {"text": text, "label": label, "probabilities": dict(zip(classes, map(float, row), strict=True))}
        for text, label, row in zip(texts, labels, probabilities, strict=True)
    ]
    return text, {"predictions": rows, "device": classifier.device_, "kernels": classifier.kernels_}


def _evaluate(options: Any) -> tuple[str, dict[str, Any]]:
    classifier = _classifier(options)
    texts, labels = tables.read(Path(options.data), options.text, options.label)
    known = [str(label) for label in classifier.classes_]
    for row, label in enumerate(labels):
        if label not in known:
            raise Failure(
                f"row {row + 1} of {options.data} has the label {label!r}, which the model does not know: {known}"
            )
    predicted = [str(label) for label in classifier.predict(_tokens(classifier, texts))]
    scores = _scores(labels, predicted)
    text = (
        f"accuracy {scores['accuracy']:.4f}, balanced {scores['balanced_accuracy']:.4f}, on {len(texts)} texts\n"
        + "\n".join(f"  {label}: {recall:.4f} right" for label, recall in scores["recall"].items())
        + f"\ndevice: {classifier.device_}, kernels: {classifier.kernels_}"
    )
    return text, {**scores, "n_test": len(texts), "device": classifier.device_, "kernels": classifier.kernels_}


def _classifier(options: Any) -> SequenceClassifier:
    """The model that was named."""
    loaded = load(options.model, options.device)
    if not isinstance(loaded, SequenceClassifier):
        raise Failure(
            f"{options.model} holds no classifier, but {type(loaded).__name__}: load it in Python, xlstm.load"
        )
    return loaded


def _tokens(classifier: SequenceClassifier, texts: list[str]) -> list[Any]:
    """The texts as the model's vocabulary has them: characters, or words."""
    encoder = classifier.fitted_state().encoder
    if not isinstance(encoder, TokenEncoder) or encoder.kind == "integers":
        raise Failure("this model reads numbers, not texts: load it in Python with xlstm.load")
    X: list[Any] = [text.split() for text in texts] if encoder.kind == "words" else list(texts)
    for number, tokens in enumerate(X, start=1):
        if not tokens:
            raise Failure(f"text {number} is empty: {texts[number - 1]!r}")
    return X


def _scores(truth: Sequence[str], predicted: Iterable[Any]) -> dict[str, Any]:
    """Accuracy, its mean over the classes (balanced accuracy), and the part of each class that is right."""
    right = np.array([str(a) == str(b) for a, b in zip(truth, predicted, strict=True)])
    labels = np.array(truth)
    recall = {str(label): float(right[labels == label].mean()) for label in np.unique(labels)}
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(list(recall.values()))),
        "recall": recall,
    }


# ---------------------------------------------------------------- bench, devices, check


def _bench(options: Any) -> tuple[str, dict[str, Any]]:
    device = None if options.device is None else backends.select(options.device).device
    results = bench.run(device, progress=lambda line: print(line, file=sys.stderr, flush=True))
    return bench.table(results), results


def _devices(options: Any) -> tuple[str, dict[str, Any]]:
    report = backends.report()
    used = [entry.device for entry in report if entry.used]
    if options.device is not None:
        used = [backends.select(options.device).device]
    lines = []
    for entry in report:
        if entry.usable:
            mark = "  <- used" if entry.device in used else ""
            lines.append(f"{entry.device}: {entry.detail}; {entry.library}; kernels: {entry.kernels}{mark}")
            lines.append(f"    {entry.about_kernels}")
        else:
            lines.append(f"{entry.device}: not usable: {entry.detail}")
    wanted = os.environ.get("XLSTM_DEVICE")
    if not used and wanted:
        lines.append(f"XLSTM_DEVICE is {wanted!r}, which is none of these: set it to auto, cpu, cuda or cuda:N")
    if len([entry for entry in report if entry.usable]) > 1:
        lines.append(
            f"'auto' takes the GPU for work of {backends.AUTO_MIN_FLOPS_PER_STEP / 1e6:.0f} million operations a step "
            "or more, the CPU for less"
        )
    return "\n".join(lines), {"devices": [entry._asdict() for entry in report], "used": used[0] if used else None}


def _check(options: Any) -> tuple[str, dict[str, Any]]:
    usable = (
        [entry.device for entry in backends.report() if entry.usable] if options.device is None else [options.device]
    )
    lines, rows, wrong = [], [], False
    for kind in map(layer_of, CELLS):
        for device, kernels in [(name, kernels) for name in usable for kernels in bench.paths(name, kind.cell)]:
            for settings in ({}, {"num_layers": 2, "bidirectional": True}):
                layer = kind(3, 5, device=device, kernels=kernels, seed=options.seed, **settings)  # type: ignore[arg-type]
                try:
                    report = gradcheck.check_gradients(layer, seed=options.seed)
                    largest = max(entry.error for entry in report.entries)
                    lines.append(f"ok     {layer!r}: {len(report.entries)} gradients, largest error {largest:.1e}")
                    rows.append({"layer": repr(layer), "device": layer.device, "passed": True, "error": largest})
                except AssertionError as error:
                    wrong = True
                    lines.append(f"WRONG  {error}")
                    rows.append({"layer": repr(layer), "device": layer.device, "passed": False, "error": None})
    lines.append("some gradients are WRONG" if wrong else "all gradients agree with finite differences")
    return "\n".join(lines), {"checks": rows, "passed": not wrong, "exit_code": int(wrong)}
