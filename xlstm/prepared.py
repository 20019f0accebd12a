"""A layer frozen for inference: its parameters packed once, in the order in which the kernels read them."""

from __future__ import annotations

from typing import Any

from .namespace import Array


class PreparedLayer:
    """What `prepare` returns: call it with x, and with state and lengths, as a layer."""

    __slots__ = ("_layer", "_one_cell", "_precision")

    def __init__(self, layer: Any, precision: str | None) -> None:
        if precision not in (None, "bfloat16"):
            raise ValueError(
                f"precision must be None (the layer's dtype, {layer.dtype}) or 'bfloat16', got {precision!r}."
            )
        narrow = precision == "bfloat16"
        if narrow and layer.dtype != "float32":
            raise ValueError(
                f"precision='bfloat16' is for float32 layers, this one is {layer.dtype}: use dtype='float32'."
            )
        if narrow and not (layer.stack.compiled and layer.stack.cell.has_bfloat16):
            runs = "array code" if layer.kernels == "reference" else f"{layer.kernels} kernels"
            where = f"runs {runs} on the CPU" if layer.backend.on_host else f"is on {layer.device}"
            raise RuntimeError(
                "precision='bfloat16' needs compiled kernels on a CPU with AVX512-BF16; "
                f"this layer {where}. Leave precision out; on a GPU give it to the layer, when it is made."
            )
        layer.stack.pack(narrow)
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
