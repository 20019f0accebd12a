"""Epochs on stderr: a line for each, or a bar with the time that is left."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

from .history import Progress

WIDTH = 24
"""Characters of the bar itself."""
SECONDS_BETWEEN = 0.1
"""A bar is drawn again at most so often: an epoch may take a millisecond."""


def print_progress(progress: Progress) -> None:
    """One line to stderr: what `verbose` writes."""
    print(f"{_title(progress)}: {_numbers(progress)}", file=sys.stderr, flush=True)


class ProgressBar:
    """A callback that shows on stderr how far a training is, its last numbers, and the time that is left.

    On a terminal, and in a notebook, it is a bar that is drawn again and again; elsewhere, as in a log, it is a line an
    epoch.
    The time left is that of the epochs which are to come, if they are like those so far: early stopping may end sooner.

    Examples
    --------
    >>> import xlstm
    >>> clf = xlstm.SequenceClassifier(hidden_size=4, max_iter=3, random_state=0)
    >>> clf = clf.fit(["ab", "ba"] * 4, ["b", "a"] * 4, callbacks=[xlstm.callbacks.ProgressBar()])
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lost = False  # whoever watched has gone
        self._drawn = 0  # characters of the bar that stands there
        self._next = 0.0  # when it may be drawn again

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the line of the bar, after an error too."""
        self._write("\n" if self._drawn else "")
        self._drawn = 0

    def on_train_begin(self, progress: Progress) -> None:
        """Draw an empty bar."""
        self._begin()
        self._draw(progress)

    def on_epoch_end(self, progress: Progress) -> None:
        """Draw it again, or write a line."""
        if not _can_be_drawn_over(sys.stderr):
            left = "" if progress.left is None else f", {_clock(progress.left)} left"
            self._write(f"{_title(progress)}: {_numbers(progress)}{left}\n")
        elif time.monotonic() >= self._next:
            self._draw(progress)

    def on_train_end(self, progress: Progress) -> None:
        """Draw it for the last time, and leave its line."""
        self._draw(progress)
        self.__exit__()

    def _draw(self, progress: Progress) -> None:
        if not _can_be_drawn_over(sys.stderr):
            return
        done = min(WIDTH, WIDTH * progress.epoch // progress.epochs)
        parts = [f"{_title(progress)} [{'#' * done}{'-' * (WIDTH - done)}] {_clock(progress.seconds)}"]
        if progress.left is not None and progress.epoch < progress.epochs:
            parts.append(f"{_clock(progress.left)} left")
        line = ", ".join([*parts, *filter(None, [_numbers(progress)])])[: shutil.get_terminal_size().columns - 1]
        self._write("\r" + line.ljust(self._drawn))
        self._drawn, self._next = len(line), time.monotonic() + SECONDS_BETWEEN

    def _write(self, text: str) -> None:
        if self._lost or sys.stderr is None or not text:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):  # whoever watched has gone: that is no reason to stop
            self._lost = True


def _can_be_drawn_over(stream: Any) -> bool:
    """Whether a line that ends in no newline is shown, and a carriage return goes back to its beginning."""
    try:
        return bool(stream.isatty()) or type(stream).__module__.startswith("ipykernel")
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def _title(progress: Progress) -> str:
    return f"epoch {progress.epoch}/{progress.epochs}"


def _numbers(progress: Progress) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in progress.history.last().items())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
