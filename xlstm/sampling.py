"""Tokens drawn from logits, as a language model writes: hot or cold, among the most probable alone, or all.

On the host, in float64, from a NumPy generator: the same seed draws the same tokens on every device.

    token = xlstm.sampling.draw(logits, rng, temperature=0.8, top_p=0.95)             # (N,) of logits (N, V)
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from .arrays import brought_to_host
from .host import HostArray


def probabilities(
    logits: Any, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> HostArray:
    """The probabilities that `draw` draws by, float64 like the logits: along the last axis they sum to 1.

    Parameters
    ----------
    logits
        (V,) or (N, V), on the host or on a GPU. Minus infinity is a token that never comes.
    temperature
        What the logits are divided by: below 1 the probable become more probable; 0 leaves the most probable token
        alone, the first of several alike.
    top_k
        Only so many of the most probable tokens are left (Fan, Lewis and Dauphin, "Hierarchical Neural Story
        Generation", 2018). Of tokens that are alike the first are left. None leaves all.
    top_p
        Only the most probable tokens are left which together have this probability, above 0 to 1, after the other two:
        the fewest that reach it (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020). None leaves
        all.

    Raises
    ------
    ValueError
        If a row of the logits holds NaN or infinity, or leaves no token; if a number is out of its range.
    TypeError
        If the logits are no real numbers.
    """
    temperature = _number("temperature", temperature, "a finite number of 0 or more", lambda t: 0 <= t < math.inf)
    if top_k is not None:
        top_k = int(_number("top_k", top_k, "an integer of 1 or more, or None", lambda k: k >= 1 and k == int(k)))
    if top_p is not None:
        top_p = _number("top_p", top_p, "above 0 and at most 1, or None", lambda p: 0 < p <= 1)
    values = brought_to_host("logits", logits).astype(np.float64)
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise ValueError(f"logits must be (V,) or (N, V), one for each token; got shape {values.shape}.")
    rows = np.atleast_2d(values)
    if (wrong := np.isnan(rows) | (rows == np.inf)).any():
        row, token = (int(place) for place in np.argwhere(wrong)[0])
        raise ValueError(f"row {row} of the logits holds {rows[row, token]} for token {token}.")
    if (empty := (rows == -np.inf).all(axis=1)).any():
        raise ValueError(f"row {int(np.argmax(empty))} of the logits is minus infinity for every token: none is left.")
    order = np.argsort(-rows, axis=1, kind="stable")  # the most probable first
    if temperature == 0:
        top_k, temperature = 1, 1.0
    ranked = np.take_along_axis(rows, order, axis=1)
    ranked = np.exp((ranked - ranked[:, :1]) / temperature)
    if top_k is not None:
        ranked[:, top_k:] = 0
    ranked /= ranked.sum(axis=1, keepdims=True)
    if top_p is not None:
        before = np.cumsum(ranked, axis=1) - ranked  # of all that are more probable
        ranked[before >= top_p] = 0
        ranked /= ranked.sum(axis=1, keepdims=True)
    kept = np.empty_like(rows)
    np.put_along_axis(kept, order, ranked, axis=1)
    return kept.reshape(values.shape)


def draw(
    logits: Any,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> HostArray:
    """A token of each row, (N,) int64, or () for logits (V,); drawn with `probabilities`.

    Parameters
    ----------
    logits, temperature, top_k, top_p
        See `probabilities`.
    rng
        A NumPy generator, which goes on from call to call; one number of it is drawn for each row.

    Raises
    ------
    ValueError
        As `probabilities`.
    TypeError
        If `rng` is no generator: with a seed each call would draw the same.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"rng must be a generator that goes on from call to call, numpy.random.default_rng(seed); got {rng!r:.80}."
        )
    p = probabilities(logits, temperature, top_k, top_p)
    totals = np.cumsum(p, axis=-1)
    # Of the last sum, which rounding leaves a little off 1; so no token without probability is ever reached.
    reached = rng.random(p.shape[:-1])[..., None] * totals[..., -1:]
    return np.asarray(np.sum(totals <= reached, axis=-1))


def _number(name: str, value: Any, wanted: str, holds: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real) or not holds(value):
        raise ValueError(f"{name} must be {wanted}, got {value!r:.80}.")
    return float(value)
