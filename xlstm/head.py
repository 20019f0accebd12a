"""From the final valid step to one number a class.

Equation: logits = features · weightᵀ + bias. Shapes: N batch, F features (S·H, the last layer's final h of each
direction side by side), K outputs: weight (K, F), bias (K,). K is the number of classes, or 1 for two of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from .namespace import Array, array_namespace


def forward(params: Mapping[str, Array], features: Array) -> Array:
    """Logits (N, K) from features (N, F)."""
    return features @ params["weight"].T + params["bias"]


def backward(params: Mapping[str, Array], features: Array, d_logits: Array) -> tuple[Array, dict[str, Array]]:
    """d_features (N, F), and the gradients of the parameters, from d_logits (N, K)."""
    xp = array_namespace(features, d_logits)
    d_params = {"weight": d_logits.T @ features, "bias": xp.sum(d_logits, axis=0)}
    return d_logits @ params["weight"], d_params
