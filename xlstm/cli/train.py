"""The command `train`: read, set rows aside, fit, measure on what was set aside, write both."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import time
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import batch, tables
from ..estimators.classifier import SequenceClassifier
from ..estimators.state import table_of
from ..files import check_target, write_whole
from ..fitted import Table
from ..interrupts import InterruptedFit
from ..progress import ProgressBar
from ..tables import counted
from . import labelled
from .common import Failure, is_same_file, show, tell
from .labelled import Labelled

NAMES_MODEL = "names.xlstm"
STANDARD_INPUT_MODEL = "stdin.xlstm"
HELD_OUT, TABS_HELD_OUT = ".held-out.csv", ".held-out.tsv"

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

SETTINGS = {
    "cell": "cell",
    "hidden_size": "hidden_size",
    "num_layers": "num_layers",
    "embedding_size": "embedding_size",
    "bidirectional": "bidirectional",
    "dropout": "dropout",
    "epochs": "max_iter",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate_init",
    "class_weight": "class_weight",
    "early_stopping": "early_stopping",
    "kernels": "kernels",
    "precision": "precision",
}
"""The arguments that stand for a setting of the classifier; None leaves its default."""


def run(options: Any) -> int:
    """All of it; nothing is written before the training is through."""
    if options.held_out is not None and not options.test_fraction:
        options.parser.error("--held-out names the file of the held-out rows: with --test-fraction 0 there are none")
    of_a_table = ("text", "label", "delimiter", "skip_empty")
    if options.data is None and any(getattr(options, name) for name in of_a_table):
        options.parser.error("--text, --label, --delimiter and --skip-empty go with a table: name its file")
    classifier = _classifier(options)
    model = _model(options)
    check_target(model)
    _keep_the_data(model, options)
    rows = labelled.first_names() if options.data is None else labelled.read(options, classifier.split)
    if (warning := labelled.like_missing(rows.labels)) is not None:
        tell("warning", warning)
    kept, aside = _split(rows, options)
    held_out = None if not len(aside) else _held_out(model, rows, options)
    content = tables.content([rows.columns, *(rows.rows[k] for k in aside)], rows.delimiter)
    before = table_of(model)
    # Without held-out rows an older file of them stays, and stays ours.
    digest = (before and before.held_out) if held_out is None else _digest(content)
    if held_out is not None and not options.force:
        _keep_what_is_not_ours(held_out, (digest, before and before.held_out), model)

    begin = time.perf_counter()
    with ProgressBar() as progress, _interrupts() as interrupts:
        classifier.fit([rows.texts[k] for k in kept], [rows.labels[k] for k in kept], callbacks=[progress])
    seconds = time.perf_counter() - begin
    scores: dict[str, Any] = dict.fromkeys(("accuracy", "balanced_accuracy", "recall"))
    if held_out is not None:
        scores = labelled.scores([rows.labels[k] for k in aside], classifier.predict([rows.texts[k] for k in aside]))

    ours = (digest, before and before.held_out)
    appeared = held_out is not None and not options.force and not _is_ours(held_out, ours)
    if appeared:  # since the training began: neither it nor the training is to be lost
        digest = before and before.held_out
    kept_scores = None
    if held_out is not None:
        kept_scores = {name: scores[name] for name in ("accuracy", "balanced_accuracy")} | {"sequences": len(aside)}
    classifier.fitted_state().table = Table(
        rows.text, rows.label, rows.delimiter, digest, len(kept), classifier.device_, kept_scores
    )
    classifier.save(model)
    if appeared:
        raise Failure(
            f"{model} is written, but its held-out rows are not: {held_out} has come there since the training began. "
            "Train again with --held-out FILE, or with --force"
        )
    if held_out is not None:
        write_whole(held_out, [content])
    stale = _stale(model, before and before.held_out, held_out, digest)
    values = {
        **scores,
        "n_test": len(aside),
        "skipped": rows.skipped,
        "epochs": int(classifier.n_iter_),
        "interrupted": bool(interrupts),
        "seconds": seconds,
        "device": classifier.device_,
        "kernels": classifier.kernels_,
        "precision": classifier.precision,
        "model": str(model),
        "held_out": None if held_out is None else str(held_out),
        "stale_held_out": None if stale is None else str(stale),
    }
    example = _example(rows.texts, [*aside, *kept])
    dashes = "-- " if example.startswith("-") else ""
    examples = "Olga Ivan" if options.data is None else f"{dashes}{shlex.quote(example)}"
    measured = (
        "trained on all rows: none is held out, so nothing is measured\n"
        if held_out is None
        else f"accuracy {scores['accuracy']:.4f}, balanced {scores['balanced_accuracy']:.4f}, on "
        f"{counted(len(aside), 'held-out text')} ({held_out})\n"
    )
    left = (
        ""
        if stale is None
        else f"{stale} is of the model that was replaced: this one may have trained on its rows, so do not measure it "
        "on them\n"
    )
    precision = "" if classifier.precision == "highest" else f"precision: {classifier.precision}\n"
    text = (
        f"{measured}{left}{labelled.told_of(rows.skipped, options)}"
        f"trained {counted(int(classifier.n_iter_), 'epoch')} on {counted(len(kept), 'text')} of "
        f"{len(classifier.classes_)} classes in {seconds:.1f} s{', interrupted' if interrupts else ''}\n"
        f"device: {classifier.device_}, kernels: {classifier.kernels_}\n{precision}"
        f"model: {model}\n"
        f"next: xlstm predict {shlex.quote(str(model))} {examples}"
    )
    return show(options, text, values)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[Warning | str]]:
    """The warnings, as long as this lasts, that Ctrl-C ended a training; they are told like all others."""
    noted: list[Warning | str] = []
    with warnings.catch_warnings():
        tell_of = warnings.showwarning

        def told(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, InterruptedFit):
                noted.append(message)
            tell_of(message, category, *where, **more)

        warnings.showwarning = told
        warnings.simplefilter("always", InterruptedFit)
        yield noted


def _classifier(options: Any) -> SequenceClassifier:
    settings = dict(NAMES_SETTINGS) if options.data is None else {}
    for argument, setting in SETTINGS.items():
        if (value := getattr(options, argument)) is not None:
            settings[setting] = value
    settings |= {"split": "words" if options.words else "characters", "fold_case": not options.keep_case}
    return SequenceClassifier(device=options.device, random_state=options.seed, **settings)


def _split(rows: Labelled, options: Any) -> tuple[list[int], list[int]]:
    """The numbers of the rows to train on, and of those held out, in the proportion of their classes."""
    if not options.test_fraction:
        return list(range(len(rows.texts))), []
    _, numbers = np.unique(rows.labels, return_inverse=True)
    try:
        kept, aside = batch.stratified_split(numbers, options.test_fraction, np.random.default_rng(options.seed))
    except ValueError as error:
        raise Failure(f"{rows.name}: {error} Is {rows.label!r} the column of the labels?") from None
    return kept.tolist(), aside.tolist()


# ---------------------------------------------------------------- where the results go


def _model(options: Any) -> Path:
    """The file of the model: as told, or in this folder, by the name of the data."""
    if options.data is not None and (os.path.isdir(options.data) or not Path(options.data).name):
        what = "is a folder" if os.path.isdir(options.data) else "names nothing"
        raise Failure(f"{options.data!r} {what}: name the file of a table, or - for standard input")
    if options.out is not None:
        return Path(options.out)
    if options.data is None:
        return Path(NAMES_MODEL)
    if options.data == tables.STANDARD_INPUT:
        return Path(STANDARD_INPUT_MODEL)
    data = Path(options.data)
    return Path((data.with_suffix("") if data.suffix == ".gz" else data).with_suffix(".xlstm").name)


def _held_out(model: Path, rows: Labelled, options: Any) -> Path:
    """The file of the held-out rows: as told, or beside the model."""
    if options.held_out is not None:
        path = Path(options.held_out)
    else:
        path = _beside(model, TABS_HELD_OUT if rows.delimiter == "\t" else HELD_OUT)
    check_target(path)
    _keep_the_data(path, options)
    if path.resolve() == model.resolve():
        raise Failure(
            f"{path} cannot hold both the model and the held-out rows: name two files by --out and --held-out"
        )
    return path


def _beside(model: Path, suffix: str) -> Path:
    """The name of a file of held-out rows that stands beside its model."""
    return model.with_name((model.stem if model.suffix == ".xlstm" else model.name) + suffix)


def _stale(model: Path, older: str | None, held_out: Path | None, digest: str | None) -> Path | None:
    """The file of held-out rows beside the model that is still as it was written with the older model.

    Rows that are held out from this model too are as good for it, wherever they stand.
    """
    if older is None or (held_out is not None and older == digest):
        return None
    for path in (_beside(model, HELD_OUT), _beside(model, TABS_HELD_OUT)):
        if path.is_file() and _digest(path.read_bytes()) == older:
            return path
    return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _keep_the_data(path: Path, options: Any) -> None:
    if options.data is not None and is_same_file(path, options.data):
        raise Failure(
            f"the result {path} would overwrite the data {options.data}: name another file by --out or --held-out"
        )


def _is_ours(held_out: Path, ours: Collection[str | None]) -> bool:
    return not held_out.exists() or _digest(held_out.read_bytes()) in ours


def _keep_what_is_not_ours(held_out: Path, ours: Collection[str | None], model: Path) -> None:
    """Raise where the file to be replaced has none of these digests.

    They are that of what is to be written, which loses nothing, and that of what was written with the older model.
    """
    if not _is_ours(held_out, ours):
        raise Failure(
            f"{held_out} is there already, and is not as xlstm wrote it with {model}: name another file for the "
            "held-out rows by --held-out FILE, or have this one replaced by --force"
        )


def _example(texts: list[str], rows: Iterable[int]) -> str:
    """A text that can be typed: the first short one that prints."""
    shown = (texts[k] for k in rows if len(texts[k]) <= 60 and texts[k].isprintable())
    return next(shown, "some text")
