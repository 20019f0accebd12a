"""What can be done while an estimator trains: `fit(X, y, callbacks=[...])`.

A callback is a function, called with a `Progress` after each epoch, or an object with any of the methods
`on_train_begin`, `on_epoch_begin`, `on_epoch_end` and `on_train_end`, each called with one:

    clf.fit(X, y, callbacks=[lambda progress: print(progress.epoch, progress.history.loss[-1])])

What they return does not matter: `progress.stop()` ends the training. `on_train_end` is called once the training has
ended with a model, early or not, by Ctrl-C too. An exception of a callback ends `fit` as every error does: the
estimator is as it was before.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from .files import check_target, write_whole
from .history import History, Progress
from .progress import ProgressBar

__all__ = ["HOOKS", "Checkpoint", "History", "JSONLines", "Progress", "ProgressBar", "Watch", "listed"]

HOOKS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")
"""The methods of a callback, in the order in which they are first called."""


def listed(callbacks: Any) -> list[Any]:
    """What was given as `callbacks`, as a list of callbacks.

    Raises
    ------
    TypeError
        If one of them is none.
    """
    if callbacks is None:
        return []
    if _hooks(callbacks) or callable(callbacks):
        callbacks = [callbacks]
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of callbacks, got {callbacks!r:.80}.")
    found = list(callbacks)
    for k, callback in enumerate(found):
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"callbacks[{k}] is the class {name}: pass an object of it, {name}(...).")
        if not _hooks(callback) and not callable(callback):
            raise TypeError(
                f"callbacks[{k}] must be a function, or an object with a method {', '.join(HOOKS[:-1])} or "
                f"{HOOKS[-1]}, got {callback!r:.80}."
            )
    return found


class JSONLines:
    """A callback that writes a line an epoch to a file: a JSON object with what the epoch gave.

        {"epoch": 1, "epochs": 20, "seconds": 0.31, "loss": 0.6921, "accuracy": 0.5312}

    Each line is there as soon as its epoch has ended. A number that JSON does not have – infinity, NaN – is null.

    Parameters
    ----------
    path
        The file. A training that begins writes it anew. One that goes on (`fit(resume=...)`) keeps the lines of the
        epochs that it has; where one is missing, it is written from the history, its seconds null.

    Raises
    ------
    OSError
        In `fit`, if it cannot be written: before the training, where that can be known.
    """

    def __init__(self, path: Any) -> None:
        self.path = os.fsdecode(path)

    def on_train_begin(self, progress: Progress) -> None:
        """Begin the file, or bring it to the epochs that there are."""
        lines: list[bytes] = []
        if progress.epoch and os.path.exists(self.path):
            with open(self.path, "rb") as file:
                lines = file.read().splitlines(keepends=True)[: progress.epoch]
        if lines and not lines[-1].endswith(b"\n"):  # what a kill has left of one
            lines.pop()
        columns = progress.history.columns()
        for epoch in range(len(lines), progress.epoch):
            numbers = {name: column[epoch] for name, column in columns.items()}
            lines.append(_line(epoch + 1, progress.epochs, None, numbers))
        write_whole(self.path, lines)

    def on_epoch_end(self, progress: Progress) -> None:
        """Write a line."""
        line = _line(progress.epoch, progress.epochs, round(progress.seconds, 3), progress.history.last())
        with open(self.path, "ab") as file:
            file.write(line)


def _line(epoch: int, epochs: int, seconds: float | None, numbers: dict[str, float]) -> bytes:
    told = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
    whole = {"epoch": epoch, "epochs": epochs, "seconds": seconds, **told}
    return json.dumps(whole, allow_nan=False).encode() + b"\n"


class Checkpoint:
    """A callback that saves the model as it is after an epoch, whole or not at all: `xlstm.load` reads it.

    To go on after a kill, `fit(resume=...)` is made; to keep the best validated model, `early_stopping=True`.

    Parameters
    ----------
    path
        The file. "{epoch}" in it becomes the number of the epoch, in four digits; without it each replaces the last.
    every
        After each so many epochs, 1 or more; and after the last. Where the training ends early, at another one, what is
        saved at its end is the model that `fit` gives: where rows validate, that of the best epoch.

    Raises
    ------
    ValueError
        If `every` is not 1 or more, or the name has another field than "{epoch}".
    OSError
        In `fit`, if it cannot be written: before the training, where that can be known.
    """

    def __init__(self, path: Any, every: int = 1) -> None:
        _check_fields(os.fsdecode(path))
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be an integer of 1 or more, got {every!r:.80}.")
        self.path, self.every = os.fsdecode(path), every
        self._saved = 0  # the last epoch that was saved

    def on_train_begin(self, progress: Progress) -> None:
        """Look whether the file can be written."""
        check_target(self._path(progress))
        self._saved = 0

    def on_epoch_end(self, progress: Progress) -> None:
        """Save, where it is time."""
        if progress.epoch % self.every == 0 or progress.epoch == progress.epochs:
            self._save(progress)

    def on_train_end(self, progress: Progress) -> None:
        """Save, where the training ended at an epoch that was not saved: nobody knew that it was the last."""
        if progress.epoch != self._saved:
            self._save(progress)

    def _save(self, progress: Progress) -> None:
        progress.snapshot().save(self._path(progress))
        self._saved = progress.epoch

    def _path(self, progress: Progress) -> str:
        return self.path.replace("{epoch}", f"{progress.epoch:04}")


def _check_fields(path: str) -> None:
    """Raise where a name has a field in braces that is not filled in: a file would be called by it."""
    for field in re.findall(r"\{[^{}]*\}", path):
        if field != "{epoch}":
            raise ValueError(f"the path {path!r} has the field {field!r}: {{epoch}} alone is filled in.")


def _hooks(callback: Any) -> list[str]:
    return [name for name in HOOKS if callable(getattr(callback, name, None))]


class Watch:
    """The callbacks of one training, and its clock.

    Parameters
    ----------
    callbacks
        As `listed` gives them.
    estimator, snapshot
        Of the `Progress` that they are told.
    seconds
        What the training had taken before, where it goes on from a file.
    """

    def __init__(self, callbacks: list[Any], estimator: Any, snapshot: Callable[[], Any], seconds: float = 0.0) -> None:
        self._callbacks, self._estimator, self._snapshot = callbacks, estimator, snapshot
        self._began, self._before = time.perf_counter(), seconds
        self._first: int | None = None  # the epochs that were there when it began
        self.stopped = False  # whether a callback has asked for the end

    @property
    def seconds(self) -> float:
        """Since the training began."""
        return self._before + time.perf_counter() - self._began

    def tell(self, hook: str, epoch: int, epochs: int, history: History) -> None:
        """Call the method of this name of all callbacks that have it."""
        if self._first is None:
            self._first = epoch
        if not self._callbacks:
            return
        here = epoch - self._first
        left = (epochs - epoch) * (time.perf_counter() - self._began) / here if here else None
        progress = Progress(epoch, epochs, history, self.seconds, left, self._estimator, self._snapshot, self._stop)
        for callback in self._callbacks:
            if _hooks(callback):
                getattr(callback, hook, _nothing)(progress)
            elif hook == "on_epoch_end":
                callback(progress)

    def _stop(self) -> None:
        self.stopped = True


def _nothing(progress: Progress) -> None:
    pass
