"""Ctrl-C in a training: the first in a run ends the training and keeps its model, the second ends the run."""

from __future__ import annotations

import inspect
import sys
import warnings
from types import CodeType, FrameType

from .labels import callers_level


class InterruptedFit(UserWarning):
    """Ctrl-C ended a `fit` early: its model is that of the whole epochs until then, and `n_iter_` says how many.

    What trains many models in a loop – a grid search, a cross-validation – goes on with the next one. A second Ctrl-C
    in the same run of a script, cell of a notebook or line at the prompt is raised as KeyboardInterrupt.
    """


warnings.simplefilter("always", InterruptedFit, append=True)  # each is told, not only the first of a line

_nowhere = object()
_kept_in: CodeType | object | None = _nowhere
"""The run in which the last Ctrl-C ended a training alone. The code, not its frame, which would keep all data alive."""


def ends_training_alone() -> bool:
    """Whether the Ctrl-C that just came is the first in this run: it then ends the training, else the run.

    A run is known by the innermost caller that is no function: the code of a script, of a cell of a notebook or of a
    line at the prompt. What has none, as in a thread, is of one run, which lasts as long as the process.
    """
    global _kept_in
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_flags & inspect.CO_OPTIMIZED:  # a function's code has that flag
        frame = frame.f_back
    run = None if frame is None else frame.f_code
    first = run is not _kept_in
    _kept_in = run
    return first


def warn(epochs: int, best: bool) -> None:
    """Say that a training was ended after so many epochs, of which the best one's model is kept, or else the last's."""
    what = "epoch" if epochs == 1 else "epochs"
    kept = "the model of the best of them" if best else "its model" if epochs == 1 else "the model of the last of them"
    warnings.warn(
        f"training interrupted after {epochs} whole {what}; {kept} is kept. Press Ctrl-C once more to stop all.",
        InterruptedFit,
        stacklevel=callers_level(),
    )
