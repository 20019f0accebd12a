"""Batches of X and y as rows that a model is trained on or validated with, read one batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import feed, ondevice, sequences, series
from ..buffer import Buffer
from ..fitted import Fitted
from ..labels import in_dtype, weights_of_part
from ..sequences import Reading
from ..series import Series, Texts
from ..sources import Batches, Given, naming, one, with_answers
from ..tasks.survey import Survey
from ..train import Labelled, Source


class Rows(NamedTuple):
    """A batch, its X and its weights read."""

    data: Series | Texts
    y: Any  # on the host, as it came
    own: Any  # (n,) float64, the weights as they came


def read(given: Given, reading: Reading) -> Rows:
    """A batch as it came."""
    data, y = sequences.read(given.X, *reading), ondevice.brought("y", given.y)
    return Rows(data, y, weights_of_part(given.sample_weight, len(data.lengths)))


def source_of(
    batches: Batches, fitted: Fitted, survey: Survey, reading: Reading, rows: int, batch_size: int, whole: bool
) -> Buffer:
    """Batches as a model is trained on them: their weights of mean 1 where they are the whole data, else as given.

    Parameters
    ----------
    survey
        What the first pass learned of y.
    rows, batch_size
        See `Buffer`.

    Raises
    ------
    ValueError
        If nothing has any weight.
    """
    if survey.weight == 0:
        raise ValueError("all rows of the batches have weight zero: nothing could be learned.")
    mean = survey.weight / survey.terms if whole else 1.0
    return _source(batches, fitted, survey, reading, rows, batch_size, mean)


def validation_of(validation: Any, fitted: Fitted, trained: Survey, reading: Reading) -> Labelled | Source:
    """Rows to validate with, which are read once to check them.

    Parameters
    ----------
    validation
        (X, y), (X, y, sample_weight), or batches of them.
    trained
        Of the y that is trained on: it says what weighs how much.

    Raises
    ------
    ValueError
        If it is not like what the model was trained on, or if none of its labels counts.
    """
    if isinstance(validation, tuple):
        given = one(validation, "validation")
        whole = _encoded(given, fitted, trained, reading, 1.0)
        with naming("validation"):
            mean = _measured([whole], fitted).mean
        part = _encoded(given, fitted, trained, reading, mean)
        return part._replace(data=feed.steps_near(part.data, fitted.model.backend))
    with naming("validation"):
        batches = validation if isinstance(validation, Batches) else Batches(validation)
        parts = (_encoded(given, fitted, trained, reading, 1.0) for given in with_answers(batches))
        of_all = _measured(parts, fitted)
        if not of_all.rows:
            raise ValueError("the batches gave nothing.")
        return _source(batches, fitted, trained, reading, of_all.rows, 1, of_all.mean, of_all.weighted)


class _Measured(NamedTuple):
    """Of rows to validate with."""

    mean: float  # the weight of all terms of a loss; 1 where none has any: they are measured as 0
    rows: int
    weighted: bool  # whether they do not all weigh alike


def _measured(parts: Iterable[Labelled], fitted: Fitted) -> _Measured:
    total, terms, rows, found = 0.0, 0, 0, set[float]()
    for part in parts:
        found = set(np.unique([*found, *part.weights])[:2].tolist())
        of_rows = fitted.task.terms(part.targets)
        rows += len(part.weights)
        terms += len(part.weights) if of_rows is None else int(of_rows.sum())
        total += float((part.weights if of_rows is None else part.weights * of_rows).sum(dtype=np.float64))
    if rows and not terms:
        raise ValueError("no label of y counts: there is nothing to measure.")
    return _Measured(total / terms if total else 1.0, rows, len(found) > 1)


def _source(
    batches: Batches,
    fitted: Fitted,
    survey: Survey,
    reading: Reading,
    rows: int,
    size: int,
    mean: float,
    weighted: bool = False,
) -> Buffer:
    def encoded(batches: Batches) -> Iterator[Labelled]:
        return (_encoded(given, fitted, survey, reading, mean) for given in with_answers(batches))

    return Buffer(batches, encoded, fitted.task, rows, size, fitted.model.backend, weighted)


def _encoded(given: Given, fitted: Fitted, survey: Survey, reading: Reading, mean: float) -> Labelled:
    """A batch, its weights divided by `mean`: on the host, where the buffer is."""
    task, dtype = fitted.task, fitted.model.architecture.dtype
    with naming(given.name):
        some = read(given, reading)
        encoded = fitted.encoded(series.to_host(fitted.matched(some.data)))
        targets = task.read(some.y, len(some.own))
        task.check_lengths(targets, encoded.lengths)
        weights = survey.weights(targets, some.own)
    return Labelled(encoded, targets, in_dtype(weights / mean, dtype))
