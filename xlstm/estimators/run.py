"""What a file keeps of a training that can go on: where it stood, and on what it was."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Set
from typing import Any, NamedTuple

import numpy as np

from .. import backends, series
from ..checkpoint import number_of_json, same_names
from ..host import HostArray, on_host
from ..messages import told
from ..tasks import Task
from ..train import Labelled, Standing


class Run(NamedTuple):
    """A training, beside its model, optimiser, generator and history."""

    epoch: int  # whole epochs
    first_update: int  # the optimiser's updates before them
    best_score: list[float | str] | None  # with a validation part that of the best epoch, the weights of which are the
    # model's; as JSON has numbers
    since_best: int
    seconds: float  # that it has taken
    finished: bool
    rows: int  # that train
    start: str | None  # a digest of the weights that it began with; None where it began anew
    data: dict[str, Any]  # what `digests` gave
    validation: str | None  # what `digest_of_rows` gave of the rows that validate, or `BATCHES`; None of no such rows

    @property
    def keeps_reached(self) -> bool:
        """Whether the last array of its file is the weights of the last epoch: where the model's are the best one's."""
        return self.best_score is not None and not self.finished

    def standing(self, weights: HostArray) -> Standing:
        """Where the training stood; `weights` are those of the file's model."""
        if self.best_score is None:
            return Standing(self.epoch, self.first_update)
        goodness, loss_downwards = map(number_of_json, self.best_score)
        return Standing(self.epoch, self.first_update, weights, (goodness, loss_downwards), self.since_best)

    @classmethod
    def from_state(cls, found: Any) -> Run | None:
        """What a file says of a run; None where it holds none.

        Raises
        ------
        ValueError
            If it is not such a state.
        """
        if found is None:
            return None
        same_names(found, cls._fields, "part of a training")
        run = cls(**found)
        counts = (run.epoch, run.first_update, run.since_best, run.rows)
        if any(type(count) is not int or not 0 <= count < 2**53 for count in counts) or type(run.finished) is not bool:
            raise ValueError(f"the training that it holds stands at {told(found)}")
        score = run.best_score
        if score is not None and not (type(score) is list and len(score) == 2 and all(map(_is_number, score))):
            raise ValueError(f"the best score of its training is {told(score)}")
        if (
            type(run.seconds) not in (int, float)
            or not 0 <= run.seconds < 2**53
            or {type(run.start), type(run.validation)} - {str, type(None)}
        ):
            raise ValueError(f"the training that it holds began at {told(run.start)}, {told(run.seconds)} seconds ago")
        same_names(run.data, (*DIGESTED, *OF_BATCHES), "digest of the data", OF_BATCHES)
        return run


def _is_number(found: Any) -> bool:
    return type(found) is float or found in ("inf", "-inf", "nan")


DIGESTED = ("rows", "X", "y", "sample_weight")
OF_BATCHES: dict[str, Any] = {"buffer": None}
"""What is kept of batches beside that; None of other data, and in files from before it was."""
BATCHES = "batches"
"""Stands for batches that validate: of these nothing more is known."""


def digests(
    data: series.Series | series.Texts, marks: Iterable[bytes], weights: HostArray, dtype: str
) -> dict[str, Any]:
    """What tells these rows, in this order, from any others: their number, and a digest of each thing given.

    Parameters
    ----------
    data
        X as read, its features in the order of the model.
    marks
        See `Task.marks`.
    weights
        (n,), with those of the classes in them.
    dtype
        Of the model: numbers that are the same in it are the same.
    """
    X, y = _hash(), _hash()
    _add(X, data, dtype)
    for mark in marks:
        y.update(len(mark).to_bytes(8, "little") + mark)
    return _found(len(data.lengths), X, y, _hash(np.asarray(weights, dtype="<f8").tobytes()))


class Digest:
    """`digests` of rows that come in batches, the y of which is not yet read: cut otherwise, they are others.

    Parameters
    ----------
    dtype
        Of the model.
    """

    def __init__(self, dtype: str) -> None:
        self._dtype, self._rows, self._hashes = dtype, 0, (_hash(), _hash(), _hash())

    def add(self, data: series.Series | series.Texts, y: Any, weights: HostArray) -> None:
        """A further batch: X as read, y on the host, and the weights as they were given (n,)."""
        of_X, of_y, of_weights = self._hashes
        self._rows += len(weights)
        _add(of_X, data, self._dtype)
        of_y.update(ascii(_plain(y)).encode())
        of_weights.update(np.asarray(weights, dtype="<f8").tobytes())

    def found(self) -> dict[str, Any]:
        """Of all batches so far."""
        return _found(self._rows, *self._hashes)


def _plain(y: Any) -> Any:
    """Labels as Python's own values, whatever holds them: all of them, and the same in every process.

    Raises
    ------
    TypeError
        If it holds something of which nobody knows what tells it from others: its printed form need not.
    """
    if isinstance(y, np.generic):  # before the others: np.str_ is a string too, but not printed as one
        y = y.item()
    if y is None or isinstance(y, (str, bytes, bool, int, float, complex)):
        return y
    if isinstance(y, Set):  # the order of strings in it is another in each process
        return sorted(ascii(_plain(each)) for each in y)
    if isinstance(y, Collection) and not hasattr(y, "__array__"):
        return [_plain(each) for each in y]
    values = on_host("y", y)
    if values.ndim:
        return _plain(values.tolist()) if values.dtype == object else values.tolist()
    found = values.tolist()
    if found is not y:
        return _plain(found)
    if hasattr(y, "__float__"):  # such as a Decimal, which is trained on as this number
        return float(y)
    raise TypeError(f"y holds {type(y).__name__}, which `resume` cannot compare: pass strings or numbers.")


def _found(rows: int, X: Any, y: Any, weights: Any) -> dict[str, Any]:
    return {"rows": rows, "X": X.hexdigest(), "y": y.hexdigest(), "sample_weight": weights.hexdigest()}


def _add(X: Any, data: series.Series | series.Texts, dtype: str) -> None:
    """Sequences to a hash."""
    data = series.to_host(data)
    X.update(data.lengths.astype("<i8").tobytes())
    if isinstance(data, series.Series):
        for values in data.blocks():
            with np.errstate(over="ignore"):
                X.update(values.astype({"float32": "<f4", "float64": "<f8"}[dtype]).tobytes())
    elif isinstance(data.tokens, str):
        X.update(data.tokens.encode("utf-8", "surrogatepass"))
    elif isinstance(data.tokens, list):
        for token in data.tokens:
            X.update(ascii(token).encode())
    else:
        X.update(np.ascontiguousarray(data.tokens, dtype="<i8").tobytes())


def digest_of_rows(task: Task, part: Labelled) -> str:
    """What tells encoded rows, with their targets and weights, from others."""
    found, home = _hash(part.weights.tobytes()), backends.owner(part.data.steps)
    steps = part.data.steps if home is None else home.to_host(part.data.steps)
    for start, length in zip(part.data.starts.tolist(), part.data.lengths.tolist(), strict=True):
        found.update(length.to_bytes(8, "little") + steps[start : start + length].tobytes())
    for mark in task.marks(part.targets, len(part.weights)):
        found.update(len(mark).to_bytes(8, "little") + mark)
    return str(found.hexdigest())


def digest_of(weights: HostArray) -> str:
    """What tells these weights of a model from others."""
    return str(_hash(weights.tobytes()).hexdigest())


def _hash(content: bytes = b"") -> Any:
    return hashlib.blake2b(content, digest_size=16)
