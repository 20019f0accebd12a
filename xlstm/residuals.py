"""Losses of numbers and their gradients: functions of the residual, output minus target.

Each is the mean over the K outputs, weighted and summed over the rows, divided by the number of rows; with weights of
mean 1, that is the mean over all. Where every step has a target it is the same over all valid steps.

    loss, d_outputs = squared_error(outputs, targets)                   # (N, K) both: K numbers for each row
    loss, d_outputs = squared_error(outputs, targets, lengths=lengths)  # (N, T, K) both: for each valid step

Shapes: N batch, T time, K outputs. `xlstm.losses` has these functions beside the cross-entropies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

from .lossrows import is_kind, namespace_of, scale_of, valid_rows
from .namespace import Array, Namespace


def squared_error(
    outputs: Array, targets: Array, weights: Array | None = None, *, lengths: Any = None, mask: Array | None = None
) -> tuple[Array, Array]:
    """The squared residual, r²: least where an output is the mean of its targets.

    Parameters
    ----------
    outputs
        (N, K), or (N, T, K) where every step has targets.
    targets
        Numbers of the shape, the dtype and the library of the outputs, and where they are; or with one column, (N, 1)
        or (N, T, 1), which every output is compared with.
    weights
        (N,), of each row, or (N, T), of each step; real numbers. None is 1.
    lengths
        For outputs (N, T, K): for each row how many of its T steps are valid, integers from 1 to T on the host. What
        stands after them in any array is never used, NaN included. None means all.
    mask
        In place of `lengths`: (N, T) booleans, true where a step is valid.

    Returns
    -------
    loss : ()
        Σ weight · mean over the outputs / N; for (N, T, K) the sum over the valid steps divided by their number.
    d_outputs : like the outputs
        The gradient of the loss; zero where a step is not valid.

    Raises
    ------
    ValueError
        If a shape does not fit.
    TypeError
        If the dtypes are not one, or the arrays are of different libraries.
    """
    xp, r, scale = _residuals(outputs, targets, weights, lengths, mask)
    return xp.sum(scale * (r * r)), 2 * scale * r


def absolute_error(
    outputs: Array, targets: Array, weights: Array | None = None, *, lengths: Any = None, mask: Array | None = None
) -> tuple[Array, Array]:
    """The absolute residual, `|r|`: least where an output is the median of its targets. Its gradient at 0 is 0.

    Parameters
    ----------
    outputs, targets, weights, lengths, mask
        As for `squared_error`.

    Returns
    -------
    loss : ()
    d_outputs : like the outputs

    Raises
    ------
    ValueError, TypeError
        As for `squared_error`.
    """
    xp, r, scale = _residuals(outputs, targets, weights, lengths, mask)
    return xp.sum(scale * xp.abs(r)), scale * xp.sign(r)


def huber(
    outputs: Array,
    targets: Array,
    weights: Array | None = None,
    *,
    delta: float = 1.0,
    lengths: Any = None,
    mask: Array | None = None,
) -> tuple[Array, Array]:
    """r²/2 for residuals up to `delta`, delta · `(|r| - delta/2)` beyond: outliers pull no harder than delta.

    Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35 (1964).

    Parameters
    ----------
    outputs, targets, weights, lengths, mask
        As for `squared_error`.
    delta
        Above 0, in the unit of the targets.

    Returns
    -------
    loss : ()
    d_outputs : like the outputs

    Raises
    ------
    ValueError, TypeError
        As for `squared_error`; and if delta is not above 0.
    """
    if not delta > 0:
        raise ValueError(f"delta must be a number above 0, got {delta!r}.")
    xp, r, scale = _residuals(outputs, targets, weights, lengths, mask)
    # Of the part within delta, c: r²/2 = c·(r - c/2) there, and delta·(|r| - delta/2) is the same beyond.
    limit = xp.full_like(r, float(delta))
    c = xp.minimum(xp.maximum(r, -limit), limit)
    return xp.sum(scale * (c * (r - c / 2))), scale * c


def quantile(
    outputs: Array,
    targets: Array,
    weights: Array | None = None,
    *,
    levels: float | Sequence[float] = 0.5,
    lengths: Any = None,
    mask: Array | None = None,
) -> tuple[Array, Array]:
    """The pinball loss: least where the share `level` of the targets lies below an output.

    level · (-r) where the output is too low, (1 - level) · r where it is too high: `|r|/2 + (0.5 - level) · r`. At
    level 0.5 it is half the absolute error. At r = 0 the gradient is the mean of both slopes. Koenker and Bassett,
    "Regression Quantiles", Econometrica 46 (1978).

    Parameters
    ----------
    outputs, targets, weights, lengths, mask
        As for `squared_error`; with several levels, targets have one column as a rule.
    levels
        A number between 0 and 1, or for each of the K outputs its own, in a list or an array. They are not kept from
        crossing.

    Returns
    -------
    loss : ()
    d_outputs : like the outputs

    Raises
    ------
    ValueError, TypeError
        As for `squared_error`; and if a level is not between 0 and 1, or if there are not as many as outputs.
    """
    xp, r, scale = _residuals(outputs, targets, weights, lengths, mask)
    # Those of an array, and its numbers, as Python's own.
    given: Any = levels.tolist() if hasattr(levels, "tolist") else levels
    each: list[Any] = list(given) if isinstance(given, Iterable) else [given]
    wrong = [level for level in each if not (isinstance(level, Real) and 0 < float(level) < 1)]
    if wrong:
        raise ValueError(f"levels must be numbers between 0 and 1, got {wrong[0]!r}.")
    if len(each) not in (1, r.shape[-1]):
        raise ValueError(
            f"levels must be one number, or one for each of the {r.shape[-1]} outputs; got {len(each)} of them."
        )
    # Filled on the device, one after another: an array of the host would have to be brought there.
    filled = [xp.full((1,), float(level), dtype=r.dtype, device=r.device) for level in each]
    level = filled[0] if len(each) == 1 else xp.concat(filled)  # (1,) or (K,)
    tilt = 0.5 - level
    return xp.sum(scale * (xp.abs(r) / 2 + tilt * r)), scale * (xp.sign(r) / 2 + tilt)


def _residuals(
    outputs: Array, targets: Array, weights: Array | None, lengths: Any, mask: Array | None
) -> tuple[Namespace, Array, Array]:
    """The namespace; the residuals, like the outputs; what their losses are multiplied with, (N, 1) or (N, T, 1)."""
    xp = namespace_of("outputs", outputs, {"targets": targets, "weights": weights, "mask": mask})
    if targets.shape != outputs.shape and targets.shape != (*outputs.shape[:-1], 1):
        hint = ""
        if targets.shape == outputs.shape[:-1]:  # which would be spread over rows without a word
            hint = " Of one number a row, pass targets[..., None]."
        raise ValueError(
            f"targets must be {tuple(outputs.shape)} like the outputs, or of one column for all of them; got shape "
            f"{tuple(targets.shape)}.{hint}"
        )
    if targets.dtype != outputs.dtype:
        kind = "" if is_kind(xp, targets.dtype, "real floating") else ", which holds no real numbers"
        raise TypeError(f"targets must be of the dtype {outputs.dtype} of the outputs, got {targets.dtype}{kind}.")
    valid, count = valid_rows(xp, "outputs", outputs, weights, lengths, mask)
    r = outputs - targets  # (…, K)
    if valid is not None:
        r = xp.where(valid[..., None], r, xp.zeros_like(r))
    return xp, r, scale_of(xp, outputs, weights, valid, count)[..., None] / outputs.shape[-1]
