"""A layer frozen for inference: its parameters packed once, in the order in which the kernels read them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .namespace import Array

PRECISIONS = ("bfloat16", "float16", "int8")
"""What `prepare` may store weights in, beside the model's dtype."""

LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}
"""Of weights: what is larger becomes infinite where it is rounded."""

MOST_OF_INT8 = 2**17
"""Products of 127 · 127, of which 32 bits hold the sum."""


def check_precision(precision: str | None, stack: Any, kernels: str) -> None:
    """Refuse a precision in which the weights of a stack cannot be stored here, before anything is packed.

    Raises
    ------
    ValueError
        If it is none of `PRECISIONS`, or not for this dtype or these weights.
    RuntimeError
        If the CPU or the device cannot multiply in it.
    """
    if precision is None:
        return
    if precision not in PRECISIONS:
        names = ", ".join(map(repr, PRECISIONS))
        raise ValueError(f"precision must be None (the dtype, {stack.dtype}) or one of {names}; got {precision!r}.")
    if stack.dtype != "float32":
        raise ValueError(f"precision={precision!r} is for float32, this is {stack.dtype}: use dtype='float32'.")
    format_of = getattr(stack.cell, "format_of", None) if stack.compiled else None
    if format_of is None or format_of(precision) is None:
        runs = "array code" if kernels == "reference" else f"{kernels} kernels"
        where = f"{runs} on the CPU" if stack.backend.on_host else f"{runs} on {stack.backend.device}"
        if kernels == "reference" and stack.choice.reason:
            where += f" ({stack.choice.reason})"
        needs = "" if precision == "bfloat16" else " with AVX2" if precision == "int8" else " with AVX2 and F16C"
        raise RuntimeError(
            f"precision={precision!r} needs compiled kernels on a CPU{needs}; here run {where}. Leave precision out; "
            "on a GPU give it to the layer or the estimator, when it is made."
        )
    weights = [of_cell[name] for of_cell in stack.of_cells for name in ("weight_ih", "weight_hh")]
    if not all(np.isfinite(w).all() for w in weights):
        raise ValueError(f"a weight is not finite, and precision={precision!r} stores finite ones alone: leave it out.")
    limit = LARGEST.get(precision)
    if limit is not None and any(np.any(abs(w) > limit) for w in weights):
        other = "use precision='bfloat16'" if precision == "float16" else "leave precision out"
        raise ValueError(f"a weight is above {limit:.8g}, the largest of {precision}: {other}.")
    if precision == "int8" and max(w.shape[1] for w in weights) > MOST_OF_INT8:
        raise ValueError(f"precision='int8' sums at most {MOST_OF_INT8} features: use precision='float16'.")


class PreparedLayer:
    """What `prepare` returns: call it with x, and with state and lengths, as a layer."""

    __slots__ = ("_layer", "_one_cell", "_precision")

    def __init__(self, layer: Any, precision: str | None) -> None:
        check_precision(precision, layer.stack, layer.kernels)
        layer.stack.pack(precision)
        self._layer, self._precision = layer, precision  # nobody else has this layer
        packed = layer.stack.packed
        quick = layer.stack.compiled and len(packed) == 1
        self._one_cell = layer.stack.cell.frozen(packed[0]["packed"]) if quick else None

    def __call__(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Array, Any]:
        """Outputs and the final state, as the layer's own call gives them."""
        if self._one_cell is not None and lengths is None:
            result: tuple[Array, Any] | None = self._one_cell(x, state)
            if result is not None:
                return result
        returned: tuple[Array, Any] = self._layer(x, state, lengths)
        return returned

    def __reduce__(self) -> Any:
        return PreparedLayer, (self._layer, self._precision)

    def __repr__(self) -> str:
        return f"{self._layer!r}.prepare({'' if self._precision is None else repr(self._precision)})"
