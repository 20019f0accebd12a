"""Answers for data that come in batches: batch by batch, so that no more than one of them is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from . import backends
from .fitted import Fitted
from .host import HostArray
from .labels import weights_of_part
from .sequences import Reading
from .sources import Batches, alone, naming, with_answers


def each(answer: Callable[[Any], Any], batches: Iterable[Any]) -> Iterator[Any]:
    """What `answer` gives for the X of each batch, when it is asked for. Errors name the batch."""
    for name, X in alone(batches):
        with naming(name):
            made = answer(X)
        yield made


def together(answers: Iterable[Any]) -> Any:
    """The answers of all batches as those of one: arrays where they lie, or lists.

    Raises
    ------
    ValueError
        If there was no batch.
    """
    parts = list(answers)
    if not parts:
        raise ValueError("the batches gave nothing: there is no answer.")
    if isinstance(parts[0], list):
        return [answer for part in parts for answer in part]
    home = backends.owner(parts[0])
    if home is None or home.on_host:
        return np.concatenate(parts)
    with home.current():
        return home.namespace.concat(parts)


def beside(fitted: Fitted, batches: Batches, reading: Reading) -> tuple[Any, Any, HostArray]:
    """`Fitted.beside` of all batches together: outputs and targets, but no sequence, are kept."""
    outputs, targets, weights = zip(*_each_beside(fitted, batches, reading), strict=True)
    return np.concatenate(outputs), fitted.task.joined(list(targets)), np.concatenate(weights)


def score(fitted: Fitted, batches: Batches, reading: Reading) -> float:
    """The score of the answers for all batches beside their y, as that of all rows at once.

    Of a task whose score is a mean, no answer is kept.
    """
    task = fitted.task
    if not task.score_is_a_mean:
        return task.score(*beside(fitted, batches, reading))
    total = right = 0.0
    for outputs, targets, own in _each_beside(fitted, batches, reading):
        terms = task.terms(targets)
        weight = float((own if terms is None else own * terms).sum())
        if weight:
            total, right = total + weight, right + weight * task.score(outputs, targets, own)
    if not total:
        raise ValueError("the batches hold nothing that counts: there is no score.")
    return right / total


def _each_beside(fitted: Fitted, batches: Batches, reading: Reading) -> Iterator[tuple[Any, Any, HostArray]]:
    empty = True
    for name, X, y, sample_weight in with_answers(batches):
        with naming(name):
            outputs, targets, alike = fitted.beside(X, y, None, reading)
            own = weights_of_part(sample_weight, len(alike))
        yield outputs, targets, own
        empty = False
    if empty:
        raise ValueError("the batches gave nothing: there is no score.")
