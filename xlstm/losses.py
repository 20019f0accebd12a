"""The cross-entropy of a batch and its gradient, together: both need the same exponentials.

Each loss is the weighted sum over the rows divided by the number of rows; with weights of mean 1, that is their mean.
Stable however large the logits: only differences from the largest are exponentiated.
Shapes: N batch, K classes.
"""

from __future__ import annotations

from .namespace import Array, array_namespace, sigmoid


def softmax(logits: Array) -> Array:
    """The probabilities of the classes, (N, K)."""
    xp = array_namespace(logits)
    e = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    return e / xp.sum(e, axis=1, keepdims=True)


def log_softmax(logits: Array) -> Array:
    """The logarithms of the probabilities, (N, K): right where these are next to 0, and where they are next to 1."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    places = xp.arange(logits.shape[1], dtype=xp.int64, device=logits.device)
    largest = xp.argmax(logits, axis=1)[:, None] == places[None, :]  # (N, K), true once in each row
    # The largest adds exactly 1 to the sum, which stays out of it: what the others add would be lost beside it.
    others = xp.sum(xp.where(largest, xp.zeros_like(shifted), xp.exp(shifted)), axis=1, keepdims=True)
    return shifted - xp.log1p(others)


def softmax_cross_entropy(logits: Array, labels: Array, weights: Array) -> tuple[Array, Array]:
    """The loss of `labels` (N,), integers from 0 to K - 1, weighted by `weights` (N,).

    Returns
    -------
    loss : ()
        Σ weight · -log p(label) / N.
    d_logits : (N, K)
    """
    xp = array_namespace(logits, labels, weights)
    N, K = logits.shape
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    log_sum = xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    log_p = shifted - log_sum  # (N, K)
    classes = xp.arange(K, dtype=labels.dtype, device=labels.device)
    is_label = labels[:, None] == classes[None, :]  # (N, K), true once in each row
    scale = weights[:, None] / N
    loss = -xp.sum(scale * xp.where(is_label, log_p, xp.zeros_like(log_p)))
    return loss, scale * (xp.exp(log_p) - xp.astype(is_label, logits.dtype))


def logistic_cross_entropy(logits: Array, labels: Array, weights: Array) -> tuple[Array, Array]:
    """The loss of `labels` (N,), 0 or 1, of one logit (N, 1) for the class 1, weighted by `weights` (N,).

    log(1 + exp(z)) - label·z, written as max(z, 0) - label·z + log(1 + exp(-|z|)).

    Returns
    -------
    loss : ()
    d_logits : (N, 1)
    """
    xp = array_namespace(logits, labels, weights)
    z = logits[:, 0]
    target = xp.astype(labels, z.dtype)
    scale = weights / z.shape[0]
    zero = xp.zeros_like(z)
    loss = xp.sum(scale * (xp.maximum(z, zero) - target * z + xp.log1p(xp.exp(-xp.abs(z)))))
    return loss, (scale * (sigmoid(xp, z) - target))[:, None]
