"""From what the readout gives to the numbers that the answer is made of: logits, one for each output.

Equation: logits = features · weightᵀ + bias. Shapes: N batch, F features, K outputs: weight (K, F), bias (K,). Features
and logits may have a time T too: (N, T, F) and (N, T, K).
"""

from __future__ import annotations

from collections.abc import Mapping

from .namespace import Array, array_namespace


def forward(params: Mapping[str, Array], features: Array) -> Array:
    """Logits (N, K) from features (N, F); with a time, one for each step."""
    return features @ params["weight"].T + params["bias"]


def backward(params: Mapping[str, Array], features: Array, d_logits: Array) -> tuple[Array, dict[str, Array]]:
    """d_features like the features, and the gradients of the parameters, from d_logits like the logits."""
    xp = array_namespace(features, d_logits)
    d_features = d_logits @ params["weight"]
    features = xp.reshape(features, (-1, features.shape[-1]))  # (N, F) or (N·T, F)
    d_logits = xp.reshape(d_logits, (-1, d_logits.shape[-1]))
    d_params = {"weight": d_logits.T @ features, "bias": xp.sum(d_logits, axis=0)}
    return d_features, d_params
