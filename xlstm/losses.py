"""The cross-entropy of a batch and its gradient, together: both need the same exponentials.

Each loss is the weighted sum over the rows divided by the number of rows; with weights of mean 1, that is their mean.
Where every step has a label it is the same over all valid steps: the steps of all rows count alike.
Stable however large the logits: only differences from the largest are exponentiated.

    loss, d_logits = softmax_cross_entropy(logits, labels)                   # (N, K) and (N,): a label for each row
    loss, d_logits = softmax_cross_entropy(logits, labels, lengths=lengths)  # (N, T, K) and (N, T): for each valid step

Shapes: N batch, T time, K classes.
"""

from __future__ import annotations

import functools
from typing import Any

from .cells.sequence import check_lengths
from .namespace import SUPPORTED, Array, Namespace, array_namespace, library, sigmoid


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
    if not _is(xp, labels.dtype, "integral"):
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
    scale = _scale(xp, logits, weights, valid, count)[..., None]
    loss = -xp.sum(scale * xp.where(is_label, log_p, xp.zeros_like(log_p)))
    return loss, scale * (xp.exp(log_p) - xp.astype(is_label, logits.dtype))


def logistic_cross_entropy(
    logits: Array, labels: Array, weights: Array | None = None, *, lengths: Any = None, mask: Array | None = None
) -> tuple[Array, Array]:
    """The loss of `labels`, 0 or 1, of one logit for the class 1, and its gradient.

    log(1 + exp(z)) - label·z, written as max(z, 0) - label·z + log(1 + exp(-|z|)).

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
    if not _is(xp, labels.dtype, "bool"):
        _check_labels(xp, labels, (labels == 0) | (labels == 1), None, "0 or 1")
    target = xp.astype(labels, z.dtype)
    scale = _scale(xp, logits, weights, valid, count)
    zero = xp.zeros_like(z)
    loss = xp.sum(scale * (xp.maximum(z, zero) - target * z + xp.log1p(xp.exp(-xp.abs(z)))))
    return loss, (scale * (sigmoid(xp, z) - target))[..., None]


# ---------------------------------------------------------------- what is given


def _checked(
    logits: Array, labels: Array, weights: Array | None, lengths: Any, mask: Array | None
) -> tuple[Namespace, Array | None, Any]:
    """The namespace; the valid steps (N, T), None for all; how many there are, a number or ()."""
    for name, array in (("labels", labels), ("weights", weights), ("mask", mask)):
        if array is not None and type(array) is not type(logits):
            _same_library(name, array, logits)
    xp = array_namespace(logits)
    if logits.ndim not in (2, 3) or not all(logits.shape):
        raise ValueError(
            f"logits must be (N, K), or (N, T, K) with a label for every step; got shape {tuple(logits.shape)}."
        )
    if not _is(xp, logits.dtype, "real floating"):
        raise TypeError(f"logits must be real numbers of a floating type, got dtype {logits.dtype}.")
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
    if weights is not None and weights.shape != rows and not (logits.ndim == 3 and weights.shape == rows[:1]):
        wanted = f"{tuple(rows)}" if logits.ndim == 2 else f"{tuple(rows)}, of each step, or {tuple(rows[:1])}, of rows"
        raise ValueError(f"weights must be {wanted}; got shape {tuple(weights.shape)}.")
    if weights is not None and weights.dtype != logits.dtype and _is(xp, weights.dtype, "complex floating"):
        raise TypeError(f"weights must be real numbers, got dtype {weights.dtype}.")
    if weights is not None and weights.dtype != logits.dtype and _is(xp, weights.dtype, "bool"):
        raise TypeError("weights must be real numbers, got booleans: a mask of the valid steps goes as mask=.")
    if lengths is None and mask is None:
        return xp, None, rows[0] if logits.ndim == 2 else rows[0] * rows[1]
    if logits.ndim == 2:
        raise ValueError(
            f"lengths and mask go with logits (N, T, K); these are {tuple(logits.shape)}, one a row. Leave them out."
        )
    return xp, *_valid(xp, logits, lengths, mask)


def _valid(xp: Namespace, logits: Array, lengths: Any, mask: Array | None) -> tuple[Array | None, Any]:
    """The valid steps (N, T), None for all, and how many there are."""
    N, T = logits.shape[:2]
    if mask is None:
        checked = check_lengths(lengths, N, T)
        if checked is None:
            return None, N * T
        steps = xp.asarray(checked, device=logits.device)
        return xp.arange(T, dtype=steps.dtype, device=logits.device)[None, :] < steps[:, None], sum(checked)
    if lengths is not None:
        raise ValueError("give lengths or mask, not both.")
    if mask.shape != (N, T):
        raise ValueError(f"mask must be {(N, T)}, true where a step is valid; got shape {tuple(mask.shape)}.")
    if not _is(xp, mask.dtype, "bool"):
        raise TypeError(f"mask must hold booleans, true where a step is valid (mask != 0); got dtype {mask.dtype}.")
    return mask, xp.maximum(xp.sum(xp.astype(mask, logits.dtype)), xp.ones_like(logits[0, 0, 0]))


def _scale(xp: Namespace, logits: Array, weights: Array | None, valid: Array | None, count: Any) -> Array:
    """What the loss of each row or step is multiplied with: its weight over their number, 0 where it is not valid."""
    rows = logits.shape[:-1]
    if weights is None:
        weights = xp.ones(rows, dtype=logits.dtype, device=logits.device)
    elif weights.dtype != logits.dtype:
        weights = xp.astype(weights, logits.dtype)
    scale = weights / count
    if len(scale.shape) < len(rows):
        scale = xp.broadcast_to(scale[:, None], rows)
    return scale if valid is None else xp.where(valid, scale, xp.zeros_like(scale))


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


def _same_library(name: str, array: Any, logits: Array) -> None:
    """Raise where an array is not of the library of the logits."""
    wanted = SUPPORTED[library(logits)]
    try:
        got = SUPPORTED[library(array)]
    except TypeError:
        raise TypeError(f"{name} must be a {wanted} array like the logits, got {type(array).__name__}.") from None
    if got != wanted:
        raise TypeError(f"{name} is a {got} array, but the logits are a {wanted} array: convert one of them first.")


@functools.lru_cache(64)
def _is(xp: Namespace, dtype: Any, kind: str) -> bool:
    """Whether a dtype is of this kind: the standard's question, which takes longer than a small loss."""
    return bool(xp.isdtype(dtype, kind))
