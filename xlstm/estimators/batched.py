"""Training on batches, for data that memory does not hold: a first pass that learns of them, and then epochs.

The first pass takes the place of what `training.py` asks of all rows at once: the vocabulary or the scaling
(`xlstm.survey`), and what the task learns of y (`xlstm.tasks.survey`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import backends, columns, guesses, ondevice, sequences
from ..batch import size_for
from ..buffer import Buffer
from ..fitted import Fitted
from ..labels import weights_of_part
from ..seeds import own_generator
from ..sequences import Reading, Series, Texts
from ..sources import Batches, Given, naming, with_answers
from ..survey import Survey
from ..tasks.survey import Survey as TaskSurvey
from ..train import Labelled, Source

Trainable = Any
"""`xlstm.estimators.training.Trainable`, which imports this file."""


class _Rows(NamedTuple):
    """A batch, its X and its weights read."""

    data: Series | Texts
    y: Any  # on the host
    own: Any  # (n,) float64


def _read(given: Given, reading: Reading) -> _Rows:
    data, y = sequences.read(given.X, *reading), ondevice.brought("y", given.y)
    return _Rows(data, y, weights_of_part(given.sample_weight, len(data.lengths)))


def prepared(
    estimator: Trainable, batches: Batches, old: Fitted | None, whole: bool, declared: Any, validation: Any
) -> tuple[Buffer, Labelled | Source | None, Fitted, int]:
    """What to train on, what to validate with, the model that is to be trained, and the number of rows.

    For the arguments see `Trainable._train_on`.
    """
    if estimator.early_stopping and whole and validation is None:
        raise ValueError(
            "early_stopping sets rows aside to validate, which cannot be done with batches: pass "
            "validation=(X, y) or other batches, or set early_stopping=False."
        )
    if old is not None:
        estimator._check_same_model(old)
    reading, fitted = estimator.reading(), copy.deepcopy(old)
    rng = own_generator(estimator.random_state) if fitted is None else fitted.trainer.rng
    data, survey = Survey(bool(estimator.fold_case), bool(estimator.standardize), type(estimator).__name__), None
    labels_there = False
    for given in with_answers(batches if batches.sample is None else [batches.sample]):
        with naming(given.number):
            some = _read(given, reading)
            rows = len(some.own)
            if survey is None:
                task = estimator._learn(some.y, rows, declared)[0] if fitted is None else fitted.task
                task.follow(estimator)
                survey, labels_there = task.survey(fitted is None and declared is None), backends.is_on_gpu(given.y)
                guesses.warn(guesses.numbers_as_text(some.data) if fitted is None else None)
            if fitted is None:
                data.add(some.data)
            else:
                fitted.matched(some.data)
            survey.add(some.y, rows, some.own)
    if survey is None:
        raise ValueError("the batches gave nothing: expected (X, y) or (X, y, sample_weight), one or more.")
    survey.settle(whole)
    rows = survey.rows if batches.rows is None else batches.rows
    size = size_for(rows, estimator.plain_setting("batch_size"))
    if fitted is None:
        encoder = data.encoder()
        architecture = estimator._architecture(encoder.size, data.tokens, survey.task)
        flops = architecture.flops_per_step(size)
        backend = backends.select(estimator.device, "auto", flops, None, estimator.kernels)
        names = columns.kept(data.names)
        fitted = estimator._new(survey.task, encoder, architecture, backend, data.columns, names, rng)
        fitted.answers_there = labels_there
    estimator._follow_settings(fitted)
    fitted.sides = None  # of the rows of batches nobody keeps a fingerprint
    training = _source(batches, fitted, survey, reading, rows, size, _mean(survey))
    measured = None if validation is None else validation_of(validation, fitted, survey, reading)
    return training, measured, fitted, rows


def validation_of(validation: Any, fitted: Fitted, trained: TaskSurvey[Any], reading: Reading) -> Labelled | Source:
    """Rows to validate with, which are read once to check them.

    Parameters
    ----------
    validation
        (X, y), (X, y, sample_weight), or batches of them.
    trained
        Of the y that is trained on: it says what weighs how much.
    """
    try:
        if isinstance(validation, tuple):
            (given,) = with_answers([validation])
            some = _read(given, reading)
            encoded = fitted.encoded_near(fitted.matched(some.data))
            targets = fitted.task.read(some.y, len(some.own))
            weights = trained.weights(targets, some.own)
            mean = float(weights.mean()) or 1.0
            return Labelled(encoded, targets, (weights / mean).astype(fitted.model.architecture.dtype))
        batches = validation if isinstance(validation, Batches) else Batches(validation)
        total = rows = 0.0
        for labelled in _encoded(batches, fitted, trained, reading, 1.0):
            total, rows = total + float(labelled.weights.sum(dtype=np.float64)), rows + len(labelled.weights)
        if not rows:
            raise ValueError("the batches gave nothing.")
        return _source(batches, fitted, trained, reading, int(rows), 1, total / rows or 1.0)
    except (ValueError, TypeError) as error:
        raise (ValueError if isinstance(error, ValueError) else TypeError)(f"validation: {error}") from error


def _mean(survey: TaskSurvey[Any]) -> float:
    if survey.weight == 0:
        raise ValueError("all rows of the batches have weight zero: nothing could be learned.")
    return survey.weight / survey.rows


def _source(
    batches: Batches, fitted: Fitted, survey: TaskSurvey[Any], reading: Reading, rows: int, size: int, mean: float
) -> Buffer:
    """Batches as a model is trained on them."""

    def read(batches: Batches) -> Iterator[Labelled]:
        return _encoded(batches, fitted, survey, reading, mean)

    return Buffer(batches, read, fitted.task, rows, size, fitted.model.backend)


def _encoded(
    batches: Batches, fitted: Fitted, survey: TaskSurvey[Any], reading: Reading, mean: float
) -> Iterator[Labelled]:
    """Each batch of a pass, its weights divided by `mean`: on the host, where the buffer is."""
    dtype = fitted.model.architecture.dtype
    for given in with_answers(batches):
        with naming(given.number):
            some = _read(given, reading)
            encoded = fitted.encoded(sequences.to_host(fitted.matched(some.data)))
            targets = fitted.task.read(some.y, len(some.own))
            weights = survey.weights(targets, some.own)
        yield Labelled(encoded, targets, (weights / mean).astype(dtype))
