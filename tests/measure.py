"""How far a result is from the truth: the relative Frobenius norm of each array, NaN never passing.

    forward    |got - expected| / |expected|
    gradients  the same, but a gradient array that is small by cancellation is measured against a tenth of the root mean
               square of all the gradients of its case, its own size taken into account

`FORWARD` and `GRADIENTS` are the errors that the library promises not to exceed, by dtype; float32 on a GPU may be
permitted less, by the name of the precision.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

FORWARD = {"float64": 1e-12, "float32": 5e-6, "high": 2e-3, "bfloat16": 1e-2, "float16": 2e-3}
GRADIENTS = {"float64": 1e-11, "float32": 1e-5, "high": 5e-3, "bfloat16": 3e-2, "float16": 5e-3}


def bounds_of(dtype: str, precision: str) -> tuple[float, float]:
    """The errors of outputs and of gradients that are allowed for a dtype and a precision of products."""
    kind = dtype if dtype == "float64" or precision == "highest" else precision
    return FORWARD[kind], GRADIENTS[kind]


def relative_error(got: Any, expected: Any, floor: float = 0.0) -> float:
    """The norm of the difference over the norm of `expected`; infinite for a wrong shape, or anything not finite.

    Where the root mean square of `expected` is below `floor`, it is taken as `floor`.
    """
    got, expected = np.asarray(got), np.asarray(expected, dtype=np.float64)
    if got.shape != expected.shape or not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    difference = float(np.linalg.norm((got.astype(np.float64) - expected).ravel()))
    scale = max(float(np.linalg.norm(expected.ravel())), floor * expected.size**0.5)
    if difference == 0:
        return 0.0
    return difference / scale if scale > 0 else float("inf")


def root_mean_square(arrays: Any) -> float:
    """Of all the numbers of all the arrays."""
    flat = np.concatenate([np.asarray(array, dtype=np.float64).ravel() for array in arrays])
    return float(np.sqrt(np.mean(flat**2))) if flat.size else 0.0


def forward_errors(got: Mapping[str, Any], expected: Mapping[str, Any], floor: float = 0.0) -> dict[str, float]:
    """The error of each array by name; the names must be the same."""
    assert set(got) == set(expected)
    return {name: relative_error(got[name], expected[name], floor) for name in expected}


def gradient_errors(got: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, float]:
    """The error of each gradient by name, all of one case: the names must be the same."""
    assert set(got) == set(expected)
    floor = 0.1 * root_mean_square(expected.values())
    return {name: relative_error(got[name], expected[name], floor) for name in expected}


def check(errors: Mapping[str, float], tolerance: float, case: object = "") -> None:
    """Fail with every array that is further from the truth than `tolerance`, and the case it came from."""
    wrong = {name: error for name, error in errors.items() if not error <= tolerance}
    assert not wrong, f"relative errors above {tolerance:g}: {wrong} {case}"


def check_forward(got: Mapping[str, Any], expected: Mapping[str, Any], dtype: str, floor: float = 0.0) -> None:
    """`forward_errors` within what the library promises for `dtype`."""
    check(forward_errors(got, expected, floor), FORWARD[dtype])


def check_gradients(got: Mapping[str, Any], expected: Mapping[str, Any], dtype: str) -> None:
    """`gradient_errors` within what the library promises for `dtype`."""
    check(gradient_errors(got, expected), GRADIENTS[dtype])
