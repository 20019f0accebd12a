"""The command `train`: read, set rows aside, fit, measure on what was set aside, write both."""

from __future__ import annotations

import contextlib
import re
import shlex
import textwrap
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..checkpoint import is_free_for_a_model
from ..estimators.state import table_of
from ..files import alone_beside, check_target
from ..interrupts import InterruptedFit
from ..progress import ProgressBar
from ..tables import counted
from . import labelled, results, signals
from .common import Failure, check_output, show, tell
from .cut import Cut, of_one
from .kinds import KINDS, Kind
from .streamed import of_several

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
    """All of it; nothing is written before the training is through, nor of one that is interrupted, unasked."""
    kind = None if options.task is None else KINDS[options.task]
    options.data = options.files[0] if options.files else None
    _check_call(options, kind or KINDS["classes"])
    check_output()  # before a training whose result nobody would see
    split = "words" if options.words else "characters"
    _estimator(options, kind or KINDS["classes"])  # a setting that is none is said before anything is read
    model = results.model_of(options)
    check_target(model)
    results.keep_the_data(model, options)
    if not options.force and not is_free_for_a_model(model):
        raise Failure(f"{model} is there already, and is no file of xlstm: name another by --out FILE, or add --force")
    if options.resume is not None:
        results.keep_the_data(Path(options.resume), options)
        if Path(options.resume).resolve() == model.resolve():
            raise Failure(f"{model} cannot hold both the model and the training: name two files by --out and --resume")
    found = of_several(options, kind, split) if len(options.files) > 1 else of_one(options, kind, split)
    estimator = _estimator(options, found.kind)
    held_out = None if not found.aside else results.held_out_of(model, found.suffix, options)
    before = table_of(model)
    # Without held-out rows an older file of them stays, and stays ours.
    digest = (before and before.held_out) if held_out is None else results.digest_of(found.content)
    if held_out is not None and not options.force:
        results.keep_what_is_not_ours(held_out, (digest, before and before.held_out), model)

    begin = time.perf_counter()
    with ProgressBar() as progress, _interrupts() as interrupts:
        _fit(estimator, found, progress, options.resume)
    seconds = time.perf_counter() - begin
    if interrupts and not options.keep_interrupted:
        return _interrupted(estimator, model, options)
    scores: dict[str, Any] = dict.fromkeys(("accuracy", "balanced_accuracy", "recall"))
    if held_out is not None:
        scores = found.kind.scores(estimator, *found.measured)

    with alone_beside(model), signals.held_off():
        # Another training may have put its own pair there since this one began: the last one stays.
        now = table_of(model)
        ours = (digest, before and before.held_out, now and now.held_out)
        appeared = held_out is not None and not options.force and not results.is_ours(held_out, ours)
        if appeared:  # since the training began: neither it nor the training is to be lost
            digest = before and before.held_out
        estimator.fitted_state().table = found.table._replace(
            held_out=digest,
            rows=found.kept,
            device=estimator.device_,
            scores=None if held_out is None else _single(scores) | {"sequences": found.aside},
        )
        with results.replaced_with(model, None if appeared else held_out, found.content):
            estimator.save(model)
    if appeared:
        raise Failure(
            f"{model} is written, but its held-out rows are not: {held_out} has come there since the training began. "
            "Train again with --held-out FILE, or with --force"
        )
    stale = results.stale(model, before and before.held_out, held_out, digest)
    values = {
        **scores,
        "task": found.kind.name,
        "n_test": found.aside,
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
        else f"{found.kind.told(scores)}, on {counted(found.aside, f'held-out {found.what}')} ({held_out})\n"
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
        f"trained {counted(int(estimator.n_iter_), 'epoch')} on {counted(found.kept, found.what)}"
        f"{classes} in {seconds:.1f} s{', interrupted' if interrupts else ''}\n"
        f"{_features(estimator)}device: {estimator.device_}, kernels: {estimator.kernels_}\n{precision}"
        f"model: {model}\n"
        f"next: xlstm predict {shlex.quote(str(model))} {found.example}"
    )
    return show(options, text, values, signals.exit_code() if interrupts else 0)


def _features(estimator: Any) -> str:
    """What it learned from, where that has names: a column more than was meant is seen here."""
    names = getattr(estimator, "feature_names_in_", None)
    return "" if names is None else f"features: {textwrap.shorten(', '.join(names), 300, placeholder=' …')}\n"


def _interrupted(estimator: Any, model: Path, options: Any) -> int:
    """Says that nothing is written. Returns the exit code."""
    stays = f"{model} is as it was" if model.exists() else "there is no model"
    hint = (
        "--keep-interrupted writes the model of the whole epochs, --resume FILE keeps a training that can go on"
        if options.resume is None
        else f"the same command goes on from {options.resume}"
    )
    tell("error", f"interrupted after {counted(int(estimator.n_iter_), 'whole epoch')}, so {stays}: {hint}")
    return signals.exit_code()


def _fit(estimator: Any, found: Cut, progress: Any, resume: str | None) -> None:
    """Train on these sequences; what is wrong with them names the file."""
    try:
        estimator.fit(*found.training, callbacks=[progress], resume=resume)
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
    if len(options.files) > 1 and (options.early_stopping or options.skip_empty):
        flag = "--early-stopping" if options.early_stopping else "--skip-empty"
        wrong(f"{flag} goes with one file, which is in memory as a whole")
    for flag in OF_SOME_KINDS:
        if getattr(options, flag) is not None and flag not in kind.settings:
            others = " or ".join(name for name, other in KINDS.items() if flag in other.settings)
            wrong(f"--{flag.replace('_', '-')} goes with --task {others}")


OF_SOME_KINDS = ("class_weight", "readout", "loss", "ignore", "separator")
"""Flags that not every kind of answer has."""


@contextlib.contextmanager
def _interrupts() -> Iterator[list[Warning | str]]:
    """The warnings, as long as this lasts, that Ctrl-C ended a training: `run` tells them in its own words."""
    noted: list[Warning | str] = []
    with warnings.catch_warnings():
        tell_of = warnings.showwarning

        def told(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, InterruptedFit):
                noted.append(message)
            else:
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
