"""The command `train`: read, set rows aside, fit, measure on what was set aside, write both."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .. import batch, tables
from ..estimators.classifier import SequenceClassifier
from ..estimators.state import table_of
from ..files import check_target, write_whole
from ..fitted import Table
from ..progress import ProgressBar
from . import labelled
from .common import Failure, show
from .labelled import Labelled

NAMES_MODEL = "names.xlstm"
STANDARD_INPUT_MODEL = "stdin.xlstm"

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
    kept, aside = _split(rows, options)
    held_out = None if not len(aside) else _held_out(model, rows, options)
    content = tables.content([rows.columns, *(rows.rows[k] for k in aside)], rows.delimiter)
    before = table_of(model)
    # Without held-out rows an older file of them stays, and stays ours.
    digest = (before and before.held_out) if held_out is None else hashlib.sha256(content).hexdigest()
    if held_out is not None and not options.force:
        _keep_what_is_not_ours(held_out, (digest, before and before.held_out), model)

    begin = time.perf_counter()
    with ProgressBar() as progress:
        classifier.progress = progress
        classifier.fit([rows.texts[k] for k in kept], [rows.labels[k] for k in kept])
        classifier.progress = None
    seconds = time.perf_counter() - begin
    scores: dict[str, Any] = dict.fromkeys(("accuracy", "balanced_accuracy", "recall"))
    if held_out is not None:
        scores = labelled.scores([rows.labels[k] for k in aside], classifier.predict([rows.texts[k] for k in aside]))

    classifier.fitted_state().table = Table(rows.text, rows.label, rows.delimiter, digest)
    classifier.save(model)
    if held_out is not None:
        write_whole(held_out, [content])
    values = {
        **scores,
        "n_test": len(aside),
        "skipped": rows.skipped,
        "seconds": seconds,
        "device": classifier.device_,
        "kernels": classifier.kernels_,
        "model": str(model),
        "held_out": None if held_out is None else str(held_out),
    }
    examples = "Olga Ivan" if options.data is None else f"-- {shlex.quote(_example(rows.texts, [*aside, *kept]))}"
    measured = (
        "trained on all rows: none is held out, so nothing is measured\n"
        if held_out is None
        else f"accuracy {scores['accuracy']:.4f}, balanced {scores['balanced_accuracy']:.4f}, on {len(aside)} "
        f"held-out texts ({held_out})\n"
    )
    text = (
        f"{measured}{labelled.told_of(rows.skipped, options)}"
        f"trained {classifier.n_iter_} epochs on {len(kept)} texts of {len(classifier.classes_)} classes in "
        f"{seconds:.1f} s\n"
        f"device: {classifier.device_}, kernels: {classifier.kernels_}\n"
        f"model: {model}\n"
        f"next: xlstm predict {shlex.quote(str(model))} {examples}"
    )
    return show(options, text, values)


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
        suffix = ".held-out.tsv" if rows.delimiter == "\t" else ".held-out.csv"
        path = model.with_name((model.stem if model.suffix == ".xlstm" else model.name) + suffix)
    check_target(path)
    _keep_the_data(path, options)
    if path.resolve() == model.resolve():
        raise Failure(
            f"{path} cannot hold both the model and the held-out rows: name two files by --out and --held-out"
        )
    return path


def _keep_the_data(path: Path, options: Any) -> None:
    if options.data not in (None, tables.STANDARD_INPUT) and path.resolve() == Path(options.data).resolve():
        raise Failure(
            f"the result {path} would overwrite the data {options.data}: name another file by --out or --held-out"
        )


def _keep_what_is_not_ours(held_out: Path, ours: Collection[str | None], model: Path) -> None:
    """Raise where the file to be replaced has none of these digests.

    They are that of what is to be written, which loses nothing, and that of what was written with the older model.
    """
    if held_out.exists() and hashlib.sha256(held_out.read_bytes()).hexdigest() not in ours:
        raise Failure(
            f"{held_out} is there already, and is not as xlstm wrote it with {model}: name another file for the "
            "held-out rows by --held-out FILE, or have this one replaced by --force"
        )


def _example(texts: list[str], rows: Iterable[int]) -> str:
    """A text that can be typed: the first short one that prints."""
    shown = (texts[k] for k in rows if len(texts[k]) <= 60 and texts[k].isprintable())
    return next(shown, "some text")
