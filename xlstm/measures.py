"""How good answers are, as curves and tables: confusion, ROC, calibration. Plain functions of arrays on the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .host import HostArray


def confusion(true: HostArray, predicted: HostArray, K: int, weights: HostArray | None = None) -> HostArray:
    """How much of class i, a row, was taken for class j, a column: (K, K) float64.

    Parameters
    ----------
    true, predicted
        (n,) numbers of classes, from 0 to K - 1.
    weights
        (n,), or None for 1 each.
    """
    table = np.zeros((K, K))
    np.add.at(table, (true, predicted), 1.0 if weights is None else weights)
    return table


class Roc(NamedTuple):
    """Receiver operating characteristic: Fawcett, "An introduction to ROC analysis" (2006).

    Attributes
    ----------
    false_positive_rate, true_positive_rate : (P,)
        From (0, 0) to (1, 1): one point for each different score, from the highest down.
    area : float
        Under the curve: the probability that a positive has a higher score than a negative, half of it for equal ones.
    """

    false_positive_rate: HostArray
    true_positive_rate: HostArray
    area: float


def roc(positive: HostArray, scores: HostArray, weights: HostArray | None = None) -> Roc:
    """The ROC curve of scores (n,) for whether each is positive, (n,) bool.

    Raises
    ------
    ValueError
        If there are no positives, or no negatives, with any weight: the curve has no meaning then.
    """
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    positive, scores, weights = positive[order], scores[order], weights[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # equal scores are one point
    true = np.append(0.0, np.cumsum(np.where(positive, weights, 0))[last])
    false = np.append(0.0, np.cumsum(np.where(positive, 0, weights))[last])
    if true[-1] == 0 or false[-1] == 0:
        missing = "positive" if true[-1] == 0 else "negative"
        raise ValueError(f"a ROC curve needs positives and negatives, but no row is {missing}.")
    x, y = false / false[-1], true / true[-1]
    return Roc(x, y, float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)))


class Calibration(NamedTuple):
    """Whether what has a probability of p happens in a share p of the cases: a reliability diagram.

    DeGroot and Fienberg, "The comparison and evaluation of forecasters" (1983).

    Attributes
    ----------
    predicted, observed : (B,)
        Of each bin that holds any row: the mean probability, and the share of positives.
    weights : (B,)
        The weight of its rows.
    error : float
        The mean distance of the two, weighted: the expected calibration error (Naeini, Cooper and Hauskrecht, 2015).
    """

    predicted: HostArray
    observed: HostArray
    weights: HostArray
    error: float


def calibration(
    positive: HostArray, probabilities: HostArray, bins: int = 10, weights: HostArray | None = None
) -> Calibration:
    """Of probabilities (n,) and whether each came true, (n,) bool: in bins of equal width."""
    weights = np.ones(len(probabilities)) if weights is None else np.asarray(weights, dtype=np.float64)
    at = np.minimum((probabilities.astype(np.float64) * bins).astype(np.int64), bins - 1)

    def sums(values: Any) -> HostArray:
        return np.bincount(at, weights=values, minlength=bins)

    total = sums(weights)
    there = total > 0
    total = total[there]
    predicted = sums(weights * probabilities)[there] / total
    observed = sums(np.where(positive, weights, 0))[there] / total
    error = float(np.average(np.abs(predicted - observed), weights=total)) if len(total) else float("nan")
    return Calibration(predicted, observed, total, error)


class ByClass(NamedTuple):
    """How good the answers of each of K classes or labels are; NaN where there is nothing to divide by.

    Attributes
    ----------
    precision : (K,)
        Of the answers that name it, the share that is right.
    recall : (K,)
        Of those that have it, the share that is found.
    f1 : (K,)
        The harmonic mean of both.
    """

    precision: HostArray
    recall: HostArray
    f1: HostArray


def by_class(right: HostArray, answered: HostArray, there: HostArray) -> ByClass:
    """Of how often each class was answered rightly, answered at all, and there, each (K,)."""

    def divided(part: HostArray, whole: HostArray) -> HostArray:
        shares = np.full(len(whole), np.nan)
        np.divide(part, whole, out=shares, where=whole > 0)
        return shares

    right = right.astype(np.float64)
    return ByClass(divided(right, answered), divided(right, there), divided(2 * right, answered + there))


def log_loss(log_probabilities: HostArray, true: HostArray) -> float:
    """The mean of minus the logarithm of what the true class (n,) was given, of logarithms (n, K)."""
    return float(-np.mean(log_probabilities[np.arange(len(true)), true]))
