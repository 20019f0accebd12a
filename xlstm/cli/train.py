"""The command `train`: read, set rows aside, fit, measure on what was set aside, write both."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import time
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import batch, tables
from ..checkpoint import is_free_for_a_model
from ..dataset import Sequences
from ..estimators.state import table_of
from ..files import check_target, write_whole
from ..interrupts import InterruptedFit
from ..progress import ProgressBar
from ..tables import counted
from . import given, labelled
from .common import Failure, check_output, is_same_file, listed, show, tell
from .given import Given
from .kinds import KINDS, Kind

NAMES_MODEL = "names.xlstm"
STANDARD_INPUT_MODEL = "stdin.xlstm"
HELD_OUT = (".held-out.csv", ".held-out.tsv", ".held-out.jsonl", ".held-out.ndjson", ".held-out-ids.csv")
"""How the files of held-out rows end that stand beside a model."""

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
    "readout": "readout",
    "missing": "missing",
    "loss": "loss",
    "ignore": "ignore",
    "class_weight": "class_weight",
    "early_stopping": "early_stopping",
    "kernels": "kernels",
    "precision": "precision",
}
"""The arguments that stand for a setting of an estimator; None leaves its default."""


def run(options: Any) -> int:
    """All of it; nothing is written before the training is through."""
    kind = None if options.task is None else KINDS[options.task]
    _check_call(options, kind or KINDS["classes"])
    check_output()  # before a training whose result nobody would see
    split = "words" if options.words else "characters"
    _estimator(options, kind or KINDS["classes"])  # a setting that is none is said before anything is read
    model = _model(options)
    check_target(model)
    _keep_the_data(model, options)
    if not options.force and not is_free_for_a_model(model):
        raise Failure(f"{model} is there already, and is no file of xlstm: name another by --out FILE, or add --force")
    if options.resume is not None:
        _keep_the_data(Path(options.resume), options)
        if Path(options.resume).resolve() == model.resolve():
            raise Failure(f"{model} cannot hold both the model and the training: name two files by --out and --resume")
    found = (
        given.first_names(kind or KINDS["classes"])
        if options.data is None
        else given.for_training(options, kind, split)
    )
    _check_fits(options, found)
    estimator = _estimator(options, found.kind)
    # Of a table of numbers the reader has told it.
    told = found.table.form in ("long", "wide")
    if found.kind.name == "classes" and not told and (warning := labelled.like_missing(found.y)) is not None:
        tell("warning", warning)
    if problems := given.not_finite(found.X, found.where, estimator.missing):
        raise listed(list(problems.values()), "" if options.missing else "--missing mask reads gaps")
    kept, aside = _split(found, options)
    held_out = None if not len(aside) else _held_out(model, found, options)
    content = found.content(aside)
    before = table_of(model)
    # Without held-out rows an older file of them stays, and stays ours.
    digest = (before and before.held_out) if held_out is None else _digest(content)
    if held_out is not None and not options.force:
        _keep_what_is_not_ours(held_out, (digest, before and before.held_out), model)

    begin = time.perf_counter()
    with ProgressBar() as progress, _interrupts() as interrupts:
        _fit(estimator, found, kept, progress, options.resume)
    seconds = time.perf_counter() - begin
    scores: dict[str, Any] = dict.fromkeys(("accuracy", "balanced_accuracy", "recall"))
    if held_out is not None:
        scores = found.kind.scores(estimator, given.chosen(found.X, aside), given.chosen(found.y, aside))

    ours = (digest, before and before.held_out)
    appeared = held_out is not None and not options.force and not _is_ours(held_out, ours)
    if appeared:  # since the training began: neither it nor the training is to be lost
        digest = before and before.held_out
    estimator.fitted_state().table = found.table._replace(
        held_out=digest,
        rows=len(kept),
        device=estimator.device_,
        scores=None if held_out is None else _single(scores) | {"sequences": len(aside)},
    )
    estimator.save(model)
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
        "task": found.kind.name,
        "n_test": len(aside),
        "skipped": found.skipped,
        "epochs": int(estimator.n_iter_),
        "interrupted": bool(interrupts),
        "seconds": seconds,
        "device": estimator.device_,
        "kernels": estimator.kernels_,
        "precision": estimator.precision,
        "model": str(model),
        "held_out": None if held_out is None else str(held_out),
        "stale_held_out": None if stale is None else str(stale),
    }
    measured = (
        "trained on all rows: none is held out, so nothing is measured\n"
        if held_out is None
        else f"{found.kind.told(scores)}, on {counted(len(aside), f'held-out {found.what}')} ({held_out})\n"
    )
    left = (
        ""
        if stale is None
        else f"{stale} is of the model that was replaced: this one may have trained on its rows, so do not measure it "
        "on them\n"
    )
    precision = "" if estimator.precision == "highest" else f"precision: {estimator.precision}\n"
    classes = f" of {len(estimator.classes_)} classes" if hasattr(estimator, "classes_") else ""
    text = (
        f"{measured}{left}{labelled.told_of(found.skipped, options)}"
        f"trained {counted(int(estimator.n_iter_), 'epoch')} on {counted(len(kept), found.what)}"
        f"{classes} in {seconds:.1f} s{', interrupted' if interrupts else ''}\n"
        f"device: {estimator.device_}, kernels: {estimator.kernels_}\n{precision}"
        f"model: {model}\n"
        f"next: xlstm predict {shlex.quote(str(model))} {_examples(found, [*aside, *kept], options)}"
    )
    return show(options, text, values)


def _fit(estimator: Any, found: Given, kept: list[int], progress: Any, resume: str | None) -> None:
    """Train on these sequences; what is wrong with them names the file."""
    X, y = given.chosen(found.X, kept), given.chosen(found.y, kept)
    try:
        estimator.fit(X, y, callbacks=[progress], resume=resume)
    except ValueError as error:
        if resume is not None and str(error).startswith(f"{resume} "):  # it is of that file, not of the data
            raise Failure(_settings_in_flags(str(error))) from None
        raise Failure(str(error) if found.what == "text" else f"{found.name}: {error}") from None


def _settings_in_flags(message: str) -> str:
    """A message that names settings of an estimator that were others, with the flags that stand for them."""
    flags = {setting: argument for argument, setting in SETTINGS.items()} | {"random_state": "seed"}

    def flag(found: re.Match[str]) -> str:
        return f"--{flags[found[1]].replace('_', '-')} was"

    return re.sub(rf"\b({'|'.join(flags)}) was", flag, message)


def _single(scores: dict[str, Any]) -> dict[str, float]:
    """The scores that are one number."""
    return {name: value for name, value in scores.items() if isinstance(value, (int, float))}


def _check_call(options: Any, kind: Kind) -> None:
    """End a call whose flags do not go together."""
    wrong = options.parser.error
    if options.held_out is not None and not options.test_fraction:
        wrong("--held-out names the file of the held-out rows: with --test-fraction 0 there are none")
    of_a_table = ("text", "label", "delimiter", "skip_empty", "id", "time", "wide", "features", "delta")
    if options.data is None:
        if any(getattr(options, name) for name in of_a_table[:4]):
            wrong("--text, --label, --delimiter and --skip-empty go with a table: name its file")
        if any(getattr(options, name) for name in of_a_table) or options.task is not None or options.channels_first:
            wrong("--task and the flags that say how a file is read go with a file: name it")
    if options.id is not None and options.wide:
        wrong("a row is a step (--id) or a series (--wide), not both")
    if options.id is None and options.time is not None:
        wrong("--time goes with --id, the column that says which sequence a row belongs to")
    if options.time is None and options.delta is not None:
        wrong("--delta is the time since the step before: name the column of times by --time")
    for flag in OF_SOME_KINDS:
        if getattr(options, flag) is not None and flag not in kind.settings:
            others = " or ".join(name for name, other in KINDS.items() if flag in other.settings)
            wrong(f"--{flag.replace('_', '-')} goes with --task {others}")


OF_SOME_KINDS = ("class_weight", "readout", "loss", "ignore", "separator")
"""Flags that not every kind of answer has."""


def _check_fits(options: Any, found: Given) -> None:
    """Raise where a flag is of texts, or of numbers, and the data is the other."""
    numbers = isinstance(found.X, Sequences)
    for flag, given_ in (
        ("--words", options.words),
        ("--keep-case", options.keep_case),
        ("--embedding-size", options.embedding_size),
    ):
        if numbers and given_:
            raise Failure(f"{flag} is for texts, but {found.name} holds numbers: leave it out")
    if not numbers and options.missing is not None:
        raise Failure(f"--missing is for numbers, but {found.name} holds texts: leave it out")


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


def _estimator(options: Any, kind: Kind) -> Any:
    settings = dict(NAMES_SETTINGS) if options.data is None else {}
    for argument, setting in SETTINGS.items():
        if (value := getattr(options, argument)) is not None:
            settings[setting] = value
    settings |= {"split": "words" if options.words else "characters", "fold_case": not options.keep_case}
    return kind.new(device=options.device, random_state=options.seed, **settings)


def _split(found: Given, options: Any) -> tuple[list[int], list[int]]:
    """The numbers of the rows to train on, and of those held out, in the proportion of their classes."""
    n, rng = found.size, np.random.default_rng(options.seed)
    if not options.test_fraction:
        return list(range(n)), []
    strata = found.kind.strata(found.y)
    if strata is None:
        wanted = int(np.ceil(n * options.test_fraction))
        if wanted >= n:
            raise Failure(f"{found.name}: {counted(n, 'row')} are too few to hold {wanted} of them out")
        aside = np.sort(rng.permutation(n)[:wanted])
        return np.setdiff1d(np.arange(n), aside).tolist(), aside.tolist()
    _, numbers = np.unique(strata, return_inverse=True)
    try:
        kept, aside = batch.stratified_split(numbers, options.test_fraction, rng)
    except ValueError as error:
        raise Failure(f"{found.name}: {error} Is {found.table.label!r} the column of the labels?") from None
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


def _held_out(model: Path, found: Given, options: Any) -> Path:
    """The file of the held-out rows: as told, or beside the model."""
    path = Path(options.held_out) if options.held_out is not None else _beside(model, found.suffix)
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
    for path in (_beside(model, suffix) for suffix in HELD_OUT):
        if path.is_file() and _digest(path.read_bytes()) == older:
            return path
    return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _keep_the_data(path: Path, options: Any) -> None:
    if options.data is not None and is_same_file(path, options.data):
        raise Failure(
            f"the result {path} would overwrite the data {options.data}: name another file by --out, "
            "--held-out or --resume"
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


def _examples(found: Given, rows: Iterable[int], options: Any) -> str:
    """What can be typed after the model: a short text that prints, or the file."""
    if options.data is None:
        return "Olga Boris"
    if found.what != "text":
        return f"--data {shlex.quote(options.data)}"
    shown = (found.X[k] for k in rows if len(found.X[k]) <= 60 and found.X[k].isprintable())
    example = next(shown, "some text")
    return f"{'-- ' if example.startswith('-') else ''}{shlex.quote(example)}"
