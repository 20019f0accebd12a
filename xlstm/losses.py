"""The cross-entropy of a batch and its gradient, together: both need the same exponentials.

Each loss is the weighted sum over the rows divided by the number of rows; with weights of mean 1, that is their mean.
Where every step has a label it is the same over all valid steps: the steps of all rows count alike.
Stable however large the logits: only differences from the largest are exponentiated.

    loss, d_logits = softmax_cross_entropy(logits, labels)                   # (N, K) and (N,): a label for each row
    loss, d_logits = softmax_cross_entropy(logits, labels, lengths=lengths)  # (N, T, K) and (N, T): for each valid step

Shapes: N batch, T time, K classes. The losses of numbers, which have their names here too, are in `residuals.py`.
"""

from __future__ import annotations

from typing import Any

from .lossrows import is_kind, namespace_of, scale_of, valid_rows
from .namespace import Array, Namespace, array_namespace, library, sigmoid
from .residuals import absolute_error as absolute_error
from .residuals import huber as huber
from .residuals import quantile as quantile
from .residuals import squared_error as squared_error


def softmax(logits: Array) -> Array:
    """The probabilities of the classes, (N, K) or (N, T, K) like the logits: along the last axis they sum to 1."""
    xp = array_namespace(logits)
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(f"logits must be (N, K) or (N, T, K), with K classes; got shape {tuple(logits.shape)}.")
    e = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def log_softmax(logits: Array) -> Array:
    """The logarithms of the probabilities, (N, K) or (N, T, K) like the logits.

    They are right where the probabilities are next to 0, and where they are next to 1.
    """
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    places = xp.arange(logits.shape[-1], dtype=xp.int64, device=logits.device)
    largest = xp.argmax(logits, axis=-1)[..., None] == places  # (…, K), true once in each row
    # The largest adds exactly 1 to the sum, which stays out of it: what the others add would be lost beside it.
    others = xp.sum(xp.where(largest, xp.zeros_like(shifted), xp.exp(shifted)), axis=-1, keepdims=True)
    return shifted - xp.log1p(others)


def softmax_cross_entropy(
    logits: Array, labels: Array, weights: Array | None = None, *, lengths: Any = None, mask: Array | None = None
) -> tuple[Array, Array]:
    """The loss of `labels`, integers from 0 to K - 1, and its gradient.

    Parameters
    ----------
    logits
        (N, K), or (N, T, K) where every step has a label; K is 2 or more.
    labels
        (N,) or (N, T) integers, of the library and on the device of the logits.
    weights
        (N,), of each row, or (N, T), of each step; real numbers. None is 1.
    lengths
        For logits (N, T, K): for each row how many of its T steps are valid, integers from 1 to T on the host. What
        stands after them in any array is never used, NaN and impossible labels included. None means all.
    mask
        In place of `lengths`: (N, T) booleans, true where a step is valid.

    Returns
    -------
    loss : ()
        Σ weight · -log p(label) / N; for (N, T, K) the sum over the valid steps divided by their number.
    d_logits : like the logits
        The gradient of the loss; zero where a step is not valid.

    Raises
    ------
    ValueError
        If a shape does not fit, or a label is not from 0 to K - 1. Labels on a GPU are not looked at, for that would
        wait for it: there an impossible one counts as none of the classes.
    TypeError
        If labels are no integers, or the arrays are of different libraries.
    """
    xp, valid, count = _checked(logits, labels, weights, lengths, mask)
    if not is_kind(xp, labels.dtype, "integral"):
        raise TypeError(f"labels must be integers, the numbers of the classes from 0 on; got dtype {labels.dtype}.")
    if logits.shape[-1] < 2:
        raise ValueError(
            "a softmax needs logits of two classes or more along the last axis; for one logit, that of the second of "
            f"two classes, there is logistic_cross_entropy. Got shape {tuple(logits.shape)}."
        )
    if valid is not None:
        logits = xp.where(valid[..., None], logits, xp.zeros_like(logits))
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    log_sum = xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))
    log_p = shifted - log_sum  # (…, K)
    if logits.shape[-1] - 1 > xp.iinfo(labels.dtype).max:  # more classes than the type of the labels can count
        labels = xp.astype(labels, xp.int64)
    classes = xp.arange(logits.shape[-1], dtype=labels.dtype, device=labels.device)
    is_label = labels[..., None] == classes  # (…, K), true once in each row
    if valid is not None:
        is_label = is_label & valid[..., None]
    _check_labels(xp, labels, is_label, valid, f"0 to {logits.shape[-1] - 1}: the logits have K = {logits.shape[-1]}")
    scale = scale_of(xp, logits, weights, valid, count)[..., None]
    loss = -xp.sum(scale * xp.where(is_label, log_p, xp.zeros_like(log_p)))
    return loss, scale * (xp.exp(log_p) - xp.astype(is_label, logits.dtype))


def logistic_cross_entropy(
    logits: Array, labels: Array, weights: Array | None = None, *, lengths: Any = None, mask: Array | None = None
) -> tuple[Array, Array]:
    """The loss of `labels`, 0 or 1, of one logit for the class 1, and its gradient.

    log(1 + exp(z)) - label·z, written as `max(z, 0) - label·z + log(1 + exp(-|z|))`.

    Parameters
    ----------
    logits
        (N, 1), or (N, T, 1) where every step has a label.
    labels, weights, lengths, mask
        As for `softmax_cross_entropy`, the labels 0 or 1, or booleans.

    Returns
    -------
    loss : ()
    d_logits : like the logits

    Raises
    ------
    ValueError, TypeError
        As for `softmax_cross_entropy`.
    """
    xp, valid, count = _checked(logits, labels, weights, lengths, mask)
    if logits.shape[-1] != 1:
        raise ValueError(
            f"logits must be (N, 1) or (N, T, 1), one logit for the class 1; got shape {tuple(logits.shape)}. For a "
            "logit of each class there is softmax_cross_entropy."
        )
    z = logits[..., 0]
    if valid is not None:
        z = xp.where(valid, z, xp.zeros_like(z))
        labels = xp.where(valid, labels, xp.zeros_like(labels))
    if not is_kind(xp, labels.dtype, "bool"):
        _check_labels(xp, labels, (labels == 0) | (labels == 1), None, "0 or 1")
    target = xp.astype(labels, z.dtype)
    scale = scale_of(xp, logits, weights, valid, count)
    zero = xp.zeros_like(z)
    loss = xp.sum(scale * (xp.maximum(z, zero) - target * z + xp.log1p(xp.exp(-xp.abs(z)))))
    return loss, (scale * (sigmoid(xp, z) - target))[..., None]


# ---------------------------------------------------------------- what is given


def _checked(
    logits: Array, labels: Array, weights: Array | None, lengths: Any, mask: Array | None
) -> tuple[Namespace, Array | None, Any]:
    """The namespace; the valid steps (N, T), None for all; how many there are, a number or ()."""
    xp = namespace_of("logits", logits, {"labels": labels, "weights": weights, "mask": mask})
    rows = logits.shape[:-1]
    if labels.shape != rows:
        hint = ""
        if labels.shape == logits.shape and logits.shape[-1] > 1:
            hint = " Of one column a class, pass xp.argmax(labels, axis=-1)."
        elif logits.ndim == 3 and labels.shape == rows[:1]:
            hint = " For one label a row, pass the logits of its last valid step, (N, K)."
        raise ValueError(
            f"labels must be {tuple(rows)}, one for each of the logits {tuple(logits.shape)}; got shape "
            f"{tuple(labels.shape)}.{hint}"
        )
    return xp, *valid_rows(xp, "logits", logits, weights, lengths, mask)


def _check_labels(xp: Namespace, labels: Array, right: Array, valid: Array | None, wanted: str) -> None:
    """Raise where a label of the host is no class. `right` is true once for each label that is one."""
    if library(labels) != "numpy":
        return
    expected = labels.size if valid is None else int(xp.count_nonzero(valid))
    if xp.count_nonzero(right) != expected:
        each = right if right.ndim == labels.ndim else xp.any(right, axis=-1)
        wrong = ~each if valid is None else valid & ~each
        place = tuple(int(index[0]) for index in xp.nonzero(wrong))
        raise ValueError(f"labels[{', '.join(map(str, place))}] is {labels[place]}: expected {wanted}.")
