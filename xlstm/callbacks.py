"""What can be done while an estimator trains: `fit(X, y, callbacks=[...])`.

A callback is a function, called with a `Progress` after each epoch, or an object with any of the methods
`on_train_begin`, `on_epoch_begin`, `on_epoch_end` and `on_train_end`, each called with one:

    clf.fit(X, y, callbacks=[lambda progress: print(progress.epoch, progress.history.loss[-1])])

What they return does not matter: `progress.stop()` ends the training. `on_train_end` is called once the training has
ended with a model, early or not, by Ctrl-C too. An exception of a callback ends `fit` as every error does: the
estimator is as it was before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from .history import History, Progress
from .progress import ProgressBar

__all__ = ["HOOKS", "History", "Progress", "ProgressBar", "Watch", "listed"]

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
