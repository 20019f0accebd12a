"""What a loss is given beside outputs and targets, checked: weights, and which steps are valid.

`name` is what messages call the outputs of the model: "logits", "outputs".

Shapes: N batch, T time, K outputs.
"""

from __future__ import annotations

import functools
from typing import Any

from .cells.sequence import check_lengths
from .namespace import SUPPORTED, Array, Namespace, array_namespace, library


def namespace_of(name: str, outputs: Array, others: dict[str, Array | None]) -> Namespace:
    """The namespace of outputs (N, K) or (N, T, K), which are of a floating type, and of the other arrays by name."""
    for other, array in others.items():
        if array is not None and type(array) is not type(outputs):
            _same_library(other, array, name, outputs)
    xp = array_namespace(outputs)
    if outputs.ndim not in (2, 3) or not all(outputs.shape):
        each = "a label" if name == "logits" else "a target"
        raise ValueError(
            f"{name} must be (N, K), or (N, T, K) with {each} for every step; got shape {tuple(outputs.shape)}."
        )
    if not is_kind(xp, outputs.dtype, "real floating"):
        raise TypeError(f"{name} must be real numbers of a floating type, got dtype {outputs.dtype}.")
    return xp


def valid_rows(
    xp: Namespace, name: str, outputs: Array, weights: Array | None, lengths: Any, mask: Array | None
) -> tuple[Array | None, Any]:
    """The valid steps (N, T), None for all; how many there are, a number or (). Weights are looked at, too."""
    rows = outputs.shape[:-1]
    if weights is not None and weights.shape != rows and not (outputs.ndim == 3 and weights.shape == rows[:1]):
        wanted = f"{tuple(rows)}"
        if outputs.ndim == 3:
            wanted += f", of each step, or {tuple(rows[:1])}, of rows"
        raise ValueError(f"weights must be {wanted}; got shape {tuple(weights.shape)}.")
    if weights is not None and weights.dtype != outputs.dtype and is_kind(xp, weights.dtype, "complex floating"):
        raise TypeError(f"weights must be real numbers, got dtype {weights.dtype}.")
    if weights is not None and weights.dtype != outputs.dtype and is_kind(xp, weights.dtype, "bool"):
        raise TypeError("weights must be real numbers, got booleans: a mask of the valid steps goes as mask=.")
    if lengths is None and mask is None:
        return None, rows[0] if outputs.ndim == 2 else rows[0] * rows[1]
    if outputs.ndim == 2:
        raise ValueError(
            f"lengths and mask go with {name} (N, T, K); these are {tuple(outputs.shape)}, one a row. Leave them out."
        )
    return _valid_steps(xp, outputs, lengths, mask)


def _valid_steps(xp: Namespace, outputs: Array, lengths: Any, mask: Array | None) -> tuple[Array | None, Any]:
    N, T = outputs.shape[:2]
    if mask is None:
        checked = check_lengths(lengths, N, T)
        if checked is None:
            return None, N * T
        steps = xp.asarray(checked, device=outputs.device)
        return xp.arange(T, dtype=steps.dtype, device=outputs.device)[None, :] < steps[:, None], sum(checked)
    if lengths is not None:
        raise ValueError("give lengths or mask, not both.")
    if mask.shape != (N, T):
        raise ValueError(f"mask must be {(N, T)}, true where a step is valid; got shape {tuple(mask.shape)}.")
    if not is_kind(xp, mask.dtype, "bool"):
        raise TypeError(f"mask must hold booleans, true where a step is valid (mask != 0); got dtype {mask.dtype}.")
    return mask, xp.maximum(xp.sum(xp.astype(mask, outputs.dtype)), xp.ones_like(outputs[0, 0, 0]))


def scale_of(xp: Namespace, outputs: Array, weights: Array | None, valid: Array | None, count: Any) -> Array:
    """What the loss of each row or step is multiplied with: its weight over their number, 0 where it is not valid."""
    rows = outputs.shape[:-1]
    if weights is None:
        weights = xp.ones(rows, dtype=outputs.dtype, device=outputs.device)
    elif weights.dtype != outputs.dtype:
        weights = xp.astype(weights, outputs.dtype)
    scale = weights / count
    if len(scale.shape) < len(rows):
        scale = xp.broadcast_to(scale[:, None], rows)
    return scale if valid is None else xp.where(valid, scale, xp.zeros_like(scale))


def _same_library(name: str, array: Any, of: str, outputs: Array) -> None:
    """Raise where an array is not of the library of the outputs."""
    wanted = SUPPORTED[library(outputs)]
    try:
        got = SUPPORTED[library(array)]
    except TypeError:
        raise TypeError(f"{name} must be a {wanted} array like the {of}, got {type(array).__name__}.") from None
    if got != wanted:
        raise TypeError(f"{name} is a {got} array, but the {of} are a {wanted} array: convert one of them first.")


@functools.lru_cache(64)
def is_kind(xp: Namespace, dtype: Any, kind: str) -> bool:
    """Whether a dtype is of this kind: the standard's question, which takes longer than a small loss."""
    return bool(xp.isdtype(dtype, kind))
