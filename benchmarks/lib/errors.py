"""Right before timed: how far results are from float64, and how far they may be. Both are those of the tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .checkout import module_of_tests

_measure = module_of_tests("measure")

TOLERANCE: dict[str, dict[str, float]] = {
    kind: {"forward": _measure.FORWARD[kind], "gradient": _measure.GRADIENTS[kind]} for kind in _measure.FORWARD
}
"""The largest error of outputs, states and losses, and of gradients: relative, in the Frobenius norm. By dtype, and by
precision for what float32 may be computed with on a GPU."""


def bounds_of(dtype: str, precision: str) -> dict[str, float]:
    """The tolerance of a dtype, where its products may be computed in a precision."""
    return TOLERANCE[dtype if dtype == "float64" or precision == "highest" else precision]


def relative_error(got: Any, true: Any) -> float:
    """The norm of the difference over the norm of `true`; infinite for another shape, or what is not finite."""
    return float(_measure.relative_error(got, true))


def errors_of(got: Mapping[str, Any], true: Mapping[str, Any]) -> dict[str, float]:
    """The largest error of the outputs and states, and of the gradients, whose names begin with `d`."""
    kinds: dict[str, float] = {}
    for name, value in got.items():
        kind = "gradient" if name.startswith("d") else "forward"
        kinds[kind] = max(relative_error(value, true[name]), kinds.get(kind, 0.0))
    return kinds


def within(errors: Mapping[str, float], dtype: str = "float32") -> bool:
    """Whether each of `errors_of` is within the tolerance."""
    return all(error <= TOLERANCE[dtype][kind] for kind, error in errors.items())


def wrong_among(errors: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The names whose errors are not."""
    return [name for name, each in errors.items() if not within(each)]


def told(errors: Iterable[float]) -> str:
    return ", ".join(f"{error:.0e}" for error in errors)
