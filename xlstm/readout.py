"""What the head sees of a sequence: one vector of F numbers, or one for each step; forward and backward.

A readout gets the outputs of the last layer, or its final states, and gives the features. The mean, the maximum and the
attention go over the valid steps alone. `carried` does the same for a sequence that comes in parts.

Shapes: N batch, T time, F features (S·H, the directions side by side).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .namespace import Array, array_namespace

Params = Mapping[str, Array]
Shapes = dict[str, tuple[int, ...]]


class Seen(NamedTuple):
    """What a readout is given of a batch."""

    outputs: Array  # (N, T, F), zero after a row's length; None for a readout with needs_outputs False
    finals: list[Array]  # (N, H) of each direction: the last layer's h after its last valid step
    valid: Array  # (N, T), whether a step is; None where all are, or for a readout with needs_outputs False


class Gradient(NamedTuple):
    """The gradient of what a readout was given: the one that it does not use is None."""

    outputs: Array  # (N, T, F), or None
    finals: list[Array] | None


class Readout:
    """The contract of a readout. It keeps nothing: what `forward` saves for `backward` is handed out."""

    needs_outputs = True
    """Whether it reads the outputs of all steps; else the final states alone."""
    each_step = False
    """Whether it gives features for each step, (N, T, F), instead of one vector, (N, F)."""

    def shapes(self, F: int) -> Shapes:
        """Its parameters, for outputs of F numbers a step. They start at zero."""
        return {}

    def width(self, F: int) -> int:
        """How many features it gives of outputs of F numbers a step."""
        return F

    def forward(self, params: Params, seen: Seen) -> tuple[Array, Any]:
        """The features, and what `backward` needs."""
        raise NotImplementedError

    def backward(self, params: Params, saved: Any, d_features: Array) -> tuple[Gradient, dict[str, Array]]:
        """From the gradient of the features to that of what was seen, zero after a row's length, and of `params`."""
        raise NotImplementedError

    def carried(self, params: Params, carry: Any, seen: Seen) -> tuple[Array, Any]:
        """`forward` of a sequence of which `seen` is the next part.

        `carry` is what the part before returned, None for the first. Returned are the features of all parts so far, and
        what the next part needs.
        """
        raise NotImplementedError


class Final(Readout):
    """The final valid step: of each direction its own last one, which in reverse is the first of the sequence.

    features = [h_T of the forward direction, h_1 of the reverse one]
    """

    needs_outputs = False

    def forward(self, params: Params, seen: Seen) -> tuple[Array, Any]:
        xp = array_namespace(*seen.finals)
        hs = seen.finals
        return (hs[0] if len(hs) == 1 else xp.concat(hs, axis=1)), len(hs)  # (N, F)

    def backward(self, params: Params, saved: Any, d_features: Array) -> tuple[Gradient, dict[str, Array]]:
        H = d_features.shape[1] // saved
        return Gradient(None, [d_features[:, k * H : (k + 1) * H] for k in range(saved)]), {}

    def carried(self, params: Params, carry: Any, seen: Seen) -> tuple[Array, Any]:
        return self.forward(params, seen)[0], None


class Steps(Readout):
    """Every step: features (N, T, F), zero after a row's length."""

    each_step = True

    def forward(self, params: Params, seen: Seen) -> tuple[Array, Any]:
        return seen.outputs, seen.valid

    def backward(self, params: Params, saved: Any, d_features: Array) -> tuple[Gradient, dict[str, Array]]:
        return Gradient(d_features if saved is None else _where_valid(saved, d_features), None), {}

    def carried(self, params: Params, carry: Any, seen: Seen) -> tuple[Array, Any]:
        return seen.outputs, None


class Mean(Readout):
    """The mean over the valid steps.

    features = Σ_t h_t / length
    """

    def forward(self, params: Params, seen: Seen) -> tuple[Array, Any]:
        xp = array_namespace(seen.outputs)
        length = _lengths(seen)  # (N, 1)
        # After a row's length stands zero, which adds nothing.
        return _over_time(xp, seen.outputs) / length, (seen.outputs.shape, seen.valid, length)

    def backward(self, params: Params, saved: Any, d_features: Array) -> tuple[Gradient, dict[str, Array]]:
        xp = array_namespace(d_features)
        shape, valid, length = saved
        each = (d_features / length)[:, None, :]  # (N, 1, F): every step has the same part
        if valid is None:
            return Gradient(xp.broadcast_to(each, shape), None), {}
        return Gradient(each * xp.astype(valid, each.dtype)[:, :, None], None), {}

    def carried(self, params: Params, carry: Any, seen: Seen) -> tuple[Array, Any]:
        xp = array_namespace(seen.outputs)
        total = (_over_time(xp, seen.outputs), None)
        steps = seen.outputs.shape[1]  # a part has no padding: it is one sequence's
        if carry is not None:
            total, steps = _added(xp, carry[0], total[0]), carry[1] + steps
        return total[0] / steps, (total, steps)


class Maximum(Readout):
    """The largest value of each feature over the valid steps; the first of them where several are alike.

    features = max_t h_t
    """

    def forward(self, params: Params, seen: Seen) -> tuple[Array, Any]:
        xp = array_namespace(seen.outputs)
        candidates = _lowest_where_invalid(seen)
        winner = xp.astype(xp.argmax(candidates, axis=1), xp.int32)  # half the memory to compare in `backward`
        return xp.max(candidates, axis=1), (seen.outputs.shape[1], winner)  # (N, F) each

    def backward(self, params: Params, saved: Any, d_features: Array) -> tuple[Gradient, dict[str, Array]]:
        xp = array_namespace(d_features)
        T, winner = saved
        t = xp.arange(T, dtype=winner.dtype, device=winner.device)[None, :, None]
        won = t == winner[:, None, :]  # (N, T, F): the step that gave the maximum gets all of its gradient
        d_outputs = xp.astype(won, d_features.dtype)
        d_outputs *= d_features[:, None, :]
        return Gradient(d_outputs, None), {}

    def carried(self, params: Params, carry: Any, seen: Seen) -> tuple[Array, Any]:
        xp = array_namespace(seen.outputs)
        largest = xp.max(_lowest_where_invalid(seen), axis=1)
        if carry is not None:
            largest = xp.maximum(largest, carry)
        return largest, largest


class Attention(Readout):
    """A mean over the valid steps, weighted by how well each agrees with a learned query q (F,).

    a_t = softmax_t(h_t · q),  features = Σ_t a_t · h_t

    The query starts at zero, which is the plain mean. Bahdanau, Cho and Bengio, "Neural Machine Translation by Jointly
    Learning to Align and Translate" (2015), with the score of Luong, Pham and Manning (2015) for a single query.
    """

    def shapes(self, F: int) -> Shapes:
        return {"query": (F,)}

    def forward(self, params: Params, seen: Seen) -> tuple[Array, Any]:
        xp = array_namespace(seen.outputs, params["query"])
        e, _ = _exponentials(xp, params["query"], seen)
        a = e / _over_time(xp, e)[:, None]  # (N, T), zero after a row's length
        features = _weighted(xp, a, seen.outputs)  # (N, F)
        return features, (seen.outputs, a, features)

    def backward(self, params: Params, saved: Any, d_features: Array) -> tuple[Gradient, dict[str, Array]]:
        outputs, a, features = saved
        query = params["query"]
        xp = array_namespace(d_features, outputs, query)
        N, T, F = outputs.shape
        # Of the softmax: d_score = a * (d_a - Σ a · d_a); here d_a_t = h_t · d_features, so the sum needs no steps.
        d_a = xp.sum(outputs * d_features[:, None, :], axis=2)  # (N, T)
        d_score = a * (d_a - xp.sum(features * d_features, axis=1)[:, None])  # (N, T)
        d_outputs = a[:, :, None] * d_features[:, None, :] + d_score[:, :, None] * query  # (N, T, F)
        d_query = xp.reshape(d_score, (1, N * T)) @ xp.reshape(outputs, (N * T, F))  # (1, F)
        return Gradient(d_outputs, None), {"query": d_query[0, :]}

    def carried(self, params: Params, carry: Any, seen: Seen) -> tuple[Array, Any]:
        xp = array_namespace(seen.outputs, params["query"])
        e, largest = _exponentials(xp, params["query"], seen)
        total, weighted = (_over_time(xp, e)[:, None], None), (_weighted(xp, e, seen.outputs), None)  # (N, 1), (N, F)
        if carry is not None:  # both parts brought to the larger of their two maxima
            before, total_before, weighted_before = carry
            common = xp.maximum(largest, before)
            new, old = xp.exp(largest - common), xp.exp(before - common)  # (N, 1)
            total = _added(xp, _scaled(total_before, old), new * total[0])
            weighted = _added(xp, _scaled(weighted_before, old), new * weighted[0])
            largest = common
        return weighted[0] / total[0], (largest, total, weighted)


class Beside(Readout):
    """Several readouts of one vector each, side by side: each has its own part of the head's weights.

    features = [features of the first, features of the second, …]

    The last step beside the maximum sees both how a sequence ends and whatever stood in it.
    """

    def __init__(self, *parts: Readout) -> None:
        self.parts = parts
        self.needs_outputs = any(part.needs_outputs for part in parts)

    def shapes(self, F: int) -> Shapes:
        return {name: shape for part in self.parts for name, shape in part.shapes(F).items()}

    def width(self, F: int) -> int:
        return sum(part.width(F) for part in self.parts)

    def forward(self, params: Params, seen: Seen) -> tuple[Array, Any]:
        xp = array_namespace(*seen.finals)
        each = [part.forward(params, seen) for part in self.parts]
        features = [features for features, _ in each]
        return xp.concat(features, axis=1), [(saved, made.shape[1]) for made, saved in each]  # (N, width)

    def backward(self, params: Params, saved: Any, d_features: Array) -> tuple[Gradient, dict[str, Array]]:
        d_outputs: Array = None
        d_finals: list[Array] | None = None
        d_params: dict[str, Array] = {}
        start = 0
        for part, (own, width) in zip(self.parts, saved, strict=True):
            seen, d_own = part.backward(params, own, d_features[:, start : start + width])
            start += width
            d_params |= d_own
            if seen.outputs is not None:
                d_outputs = seen.outputs if d_outputs is None else d_outputs + seen.outputs
            if seen.finals is not None:
                pairs = None if d_finals is None else zip(d_finals, seen.finals, strict=True)
                d_finals = seen.finals if pairs is None else [one + other for one, other in pairs]
        return Gradient(d_outputs, d_finals), d_params

    def carried(self, params: Params, carry: Any, seen: Seen) -> tuple[Array, Any]:
        xp = array_namespace(*seen.finals)
        before = [None] * len(self.parts) if carry is None else carry
        each = [part.carried(params, own, seen) for part, own in zip(self.parts, before, strict=True)]
        return xp.concat([features for features, _ in each], axis=1), [own for _, own in each]


_FINAL, _MEAN, _MAXIMUM = Final(), Mean(), Maximum()

READOUTS: dict[str, Readout] = {
    "final": _FINAL,
    "steps": Steps(),
    "mean": _MEAN,
    "max": _MAXIMUM,
    "attention": Attention(),
    "final+max": Beside(_FINAL, _MAXIMUM),
    "final+mean+max": Beside(_FINAL, _MEAN, _MAXIMUM),
}
"""Every readout by its name."""


def _where_valid(valid: Array, array: Array) -> Array:
    """(N, T, F), zero after each row's length."""
    xp = array_namespace(array, valid)
    return xp.where(valid[:, :, None], array, xp.zeros_like(array))


def _lengths(seen: Seen) -> Array:
    """(N, 1), of the outputs' dtype."""
    xp, outputs = array_namespace(seen.outputs), seen.outputs
    if seen.valid is None:
        N, T, _ = outputs.shape
        return xp.full((N, 1), float(T), dtype=outputs.dtype, device=outputs.device)
    return xp.astype(xp.sum(xp.astype(seen.valid, xp.int32), axis=1, keepdims=True), outputs.dtype)


def _lowest_where_invalid(seen: Seen) -> Array:
    """The outputs (N, T, F), below every valid one after each row's length."""
    if seen.valid is None:
        return seen.outputs
    xp, outputs = array_namespace(seen.outputs), seen.outputs
    nothing = xp.zeros(seen.valid.shape, dtype=outputs.dtype, device=outputs.device)
    return outputs + xp.where(seen.valid, nothing, xp.full_like(nothing, -xp.inf))[:, :, None]


def _exponentials(xp: Any, query: Array, seen: Seen) -> tuple[Array, Array]:
    """exp(score - largest score) (N, T), zero after each row's length, and the largest score (N, 1)."""
    N, T, F = seen.outputs.shape
    score = xp.reshape(xp.reshape(seen.outputs, (N * T, F)) @ query, (N, T))
    if seen.valid is not None:
        score = xp.where(seen.valid, score, xp.full_like(score, -xp.inf))
    largest = xp.max(score, axis=1, keepdims=True)
    return xp.exp(score - largest), largest


def _weighted(xp: Any, weights: Array, outputs: Array) -> Array:
    """Σ_t weights (N, T) · outputs (N, T, F): (N, F)."""
    return _over_time(xp, weights[:, :, None] * outputs)


def _over_time(xp: Any, array: Array) -> Array:
    """Σ_t of (N, T, …): (N, …).

    By halves: one sum after another would lose a digit of float32 in every ten thousand steps.
    """
    while array.shape[1] > 1:
        half = array.shape[1] // 2
        halves = array[:, :half, ...] + array[:, half : 2 * half, ...]
        if array.shape[1] % 2:
            halves[:, 0, ...] += array[:, -1, ...]
        array = halves
    return array[:, 0, ...]


Sum = tuple[Array, Array]
"""A sum of many parts, and what rounding has taken from it so far (None for nothing): Kahan, "Further remarks on
reducing truncation errors" (1965)."""


def _added(xp: Any, before: Any, part: Array) -> Sum:
    total, lost = before
    part = part if lost is None else part - lost
    new = total + part
    return new, (new - total) - part


def _scaled(before: Any, factor: Array) -> Any:
    total, lost = before
    return total * factor, None if lost is None else lost * factor
