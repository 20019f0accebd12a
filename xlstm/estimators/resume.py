"""A training that is kept in a file while it runs, and goes on from there: `fit(X, y, resume=path)`.

The file is that of an estimator (`state.py`), with a part that says where the training stands (`run.py`). Its model is
the one that the training would have had, had it ended there: so it can be loaded at any time, and once the training has
ended it is the model that `fit` gave. What going on needs is there beside it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import checkpoint, files
from ..callbacks import Watch
from ..fitted import Fitted
from ..history import Progress
from ..host import HostArray
from ..train import Labelled, Source, Standing
from . import state
from .run import BATCHES, DIGESTED, OF_BATCHES, Run, digest_of, digest_of_rows

Trainable = Any
"""`xlstm.estimators.training.Trainable`, which imports this file."""

SHARE_OF_TIME = 0.05
"""Of the training at most about so much goes into writing: of short epochs not each is written."""


class Resumable:
    """The file of a training, and what it holds.

    Parameters
    ----------
    path
        The file. Where there is none the training is a new one.
    estimator
        Whose training it is.
    place
        Where X lies, None for the host: there the model goes, if nothing else is asked for.
    old
        The model that a new training would go on from, or None.

    Attributes
    ----------
    fitted : Fitted or None
        What the file holds of the training, as it was after its last epoch; None where it is a new one.
    run : Run or None
        Where it stood.

    Raises
    ------
    ValueError
        If the file holds anything but such a training: with these settings, from that model.
    OSError
        If it cannot be read, or no file of this name can be written.
    TypeError
        If it is no path.
    """

    def __init__(self, path: Any, estimator: Trainable, place: Any, old: Fitted | None) -> None:
        try:
            self.path = os.fsdecode(path)
        except TypeError:
            raise TypeError(f"resume must be the path of a file, got {path!r:.80}.") from None
        self._estimator, self._start = estimator, None if old is None else digest_of(old.model.read())
        self.fitted: Fitted | None = None
        self.run: Run | None = None
        self._best: HostArray | None = None
        self._waiting: Any = None  # what is to be written of the last epoch
        self._written, self._took = 0.0, 0.0  # when the file was last written, and how long that took
        files.check_target(self.path)
        if os.path.exists(self.path):
            self._read(place)

    # ------------------------------------------------------------ from the file

    def _read(self, place: Any) -> None:
        estimator, kind = self._estimator, type(self._estimator).__name__
        header, arrays = checkpoint.read_state(self.path)
        with checkpoint.understood(self.path), checkpoint.understanding():
            run = Run.from_state(header.get("run"))
        if run is None:
            raise ValueError(
                f"{self.path} holds no training that could go on: resume needs a file of its own. Name another."
            )
        if header["kind"] != estimator.kind:
            raise ValueError(f"{self.path} holds the training of a {header['kind']}, and this is a {kind}.{OR_ANOTHER}")
        with checkpoint.understood(self.path):
            if differ := state.settings_that_differ(estimator, header["settings"]):
                told = ", ".join(f"{name} was {before!r} and is {now!r}" for name, (before, now) in differ.items())
                raise ValueError(f"{self.path} holds a training with other settings: {told}.{OR_ANOTHER}")
            fitted = state.learned(header, arrays, estimator, lambda part: estimator.backend_for(part, run.rows, place))
        # One that was ended by Ctrl-C left its model here: where `warm_start` would go on, the training itself does.
        if self._start != run.start and (run.finished or self._start != digest_of(arrays[0])):
            raise ValueError(
                f"{self.path} holds a training that began {_from(run.start)}, and this one would begin "
                f"{_from(self._start, run.start)}: name another file, or delete it."
            )
        self._start = run.start
        if run.keeps_reached:
            fitted.model.write(arrays[-1])
        self.fitted, self.run, self._best = fitted, run, np.array(arrays[0])  # what a file gave is one block

    @contextlib.contextmanager
    def on_its_data(self) -> Iterator[None]:
        """What the training's model says of data that do not fit it is said as a matter of this file."""
        try:
            yield
        except (ValueError, TypeError) as error:
            raise type(error)(f"{self.path} holds a training on other data: {error}") from error

    def check_data(self, data: dict[str, Any]) -> None:
        """Take note of what `run.digests` gave; raise a ValueError where the training was on other data."""
        self._data = data
        if self.run is None:
            return
        before, data = {**OF_BATCHES, **self.run.data}, {**OF_BATCHES, **data}
        if before["buffer"] is None:
            before["buffer"] = data["buffer"]
        if before == data:
            return
        if all(before[name] == data[name] for name in DIGESTED):
            told = f"buffer was {before['buffer']} and is {data['buffer']}"
            raise ValueError(f"{self.path} holds a training with another buffer: {told}.{OR_ANOTHER}")
        if before["rows"] != data["rows"]:
            what = f"{before['rows']} rows, and these are {data['rows']}"
        else:
            what = "another " + " and another ".join(name for name in DIGESTED if data[name] != before[name])
        raise ValueError(
            f"{self.path} holds a training on {what}: pass the same, in the same order, or name another file."
        )

    @property
    def has_ended(self) -> bool:
        """Whether the training that the file holds has ended."""
        return self.run is not None and self.run.finished

    @property
    def standing(self) -> Standing | None:
        """Where the training stood."""
        return None if self.run is None or self._best is None else self.run.standing(self._best)

    @property
    def seconds(self) -> float:
        """What the training had taken."""
        return 0.0 if self.run is None else self.run.seconds

    def check_rows(self, fitted: Fitted, rows: int, validation: Labelled | Source | None) -> None:
        """Take note of what trains and validates.

        Raises
        ------
        ValueError
            If the training was validated on other rows; if it was one of more rows or fewer.
        """
        if validation is None:
            self._validation = None
        else:
            self._validation = digest_of_rows(fitted.task, validation) if isinstance(validation, Labelled) else BATCHES
        if self.run is None or self.fitted is None:
            return
        before = self.run.validation
        if before is None and self.fitted.trainer.history.validation_loss:  # of files from before batches were told
            before = BATCHES
        if before != self._validation:
            raise ValueError(
                f"{self.path} holds a training that was validated on other rows, or on none: pass the same as "
                "validation, or name another file."
            )
        if self.run.rows != rows:
            raise ValueError(
                f"{self.path} holds a training on {self.run.rows} rows, and these are {rows}: pass the same, in the "
                "same order, or name another file."
            )

    # ------------------------------------------------------------ to the file

    def begin(self, fitted: Fitted, rows: int, validation: Labelled | Source | None, watch: Watch) -> Resumable:
        """The training of `fitted` begins, on so many rows: a context, at the end of which the file has all of it.

        Raises
        ------
        ValueError
            As `check_rows`.
        """
        self.check_rows(fitted, rows, validation)
        self.fitted, self._rows, self._watch = fitted, rows, watch
        return self

    def note(self, standing: Standing) -> None:
        """An epoch has ended: note all that going on from here needs."""
        trainer, best = self._trained().trainer, standing.best
        reached = trainer.model.read()
        # Copies, for the training goes on.
        moments = [np.array(moment) for moment in trainer.optimizer.host_moments()]
        arrays = [reached, *moments] if best is None else [best, *moments, reached]
        self._waiting = {**state.moving_parts(trainer), **self._part(standing, finished=False)}, arrays

    def on_epoch_end(self, progress: Progress) -> None:
        """The last of the callbacks: write what was noted, unless the file was written a moment ago."""
        due = time.perf_counter() - self._written >= self._took / SHARE_OF_TIME
        if due and not self._watch.stopped:  # for that is in no file: only the end of the training is
            self._write()

    def finish(self) -> None:
        """The training has ended: write the file for the last time."""
        fitted = self._trained()
        standing = Standing(len(fitted.trainer.history.loss), 0)
        self._waiting = {**state.moving_parts(fitted.trainer), **self._part(standing, finished=True)}, None
        self._write()

    def __enter__(self) -> Resumable:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._waiting is not None:
            self._write()

    def _part(self, standing: Standing, finished: bool) -> dict[str, Any]:
        score = None if standing.best is None else [checkpoint.number_to_json(part) for part in standing.best_score]
        counts = (standing.epoch, standing.first_update, score, standing.since_best)
        run = Run(*counts, self._watch.seconds, finished, self._rows, self._start, self._data, self._validation)
        return {"run": run._asdict()}

    def _write(self) -> None:
        parts, arrays = self._waiting
        begin, fitted = time.perf_counter(), self._trained()
        header = {**state.header_of(self._estimator, fitted), **parts}
        checkpoint.write_header(self.path, header, state.arrays_of(fitted) if arrays is None else arrays)
        self._waiting, self._written = None, time.perf_counter()
        self._took = self._written - begin

    def _trained(self) -> Fitted:
        if self.fitted is None:
            raise RuntimeError("the training has not begun")
        return self.fitted


OR_ANOTHER = " Use the same, or name another file."


def _from(start: str | None, before: str | None = None) -> str:
    if start is None:
        return "anew"
    return "from a fitted model" if before is None else "from another model"
