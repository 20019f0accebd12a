"""Answers for data that come in batches: batch by batch, so that no more than one of them is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from . import backends, ondevice
from .fitted import Fitted
from .labels import weights_of_part
from .sequences import Reading
from .sources import Batches, alone, naming, with_answers


def each(answer: Callable[[Any], Any], batches: Iterable[Any]) -> Iterator[Any]:
    """What `answer` gives for the X of each batch, when it is asked for. Errors name the batch."""
    for number, X in alone(batches):
        with naming(number):
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


def score(fitted: Fitted, batches: Batches, reading: Reading) -> float:
    """The score of the answers for all batches beside their y, as that of all rows at once.

    Of a task whose score is a mean, no answer is kept; of others all outputs are, and all targets.
    """
    task, sums, kept = fitted.task, np.zeros(2), []
    for given in with_answers(batches):
        with naming(given.number):
            outputs = ondevice.brought("outputs", fitted.outputs(given.X, reading))
            targets = task.read(ondevice.brought("y", given.y), len(outputs))
            weights = weights_of_part(given.sample_weight, len(outputs))
        if not task.score_is_a_mean:
            kept.append((outputs, targets, weights))
        elif weights.any():
            weight = weights.sum()
            sums += (weight, weight * task.score(outputs, targets, weights))
    if kept:
        all_outputs, all_targets, all_weights = zip(*kept, strict=True)
        return task.score(np.concatenate(all_outputs), task.joined(list(all_targets)), np.concatenate(all_weights))
    if not sums[0]:
        raise ValueError("the batches gave no row of a weight above 0: there is no score.")
    return float(sums[1] / sums[0])
