"""A cell, which is one recurrent layer in one direction, by the compiled kernels: the signature of `xlstm.cells`.

The caller has checked the arguments (`xlstm.layers` does); what is checked again in module.cpp only keeps a mistake
from reading outside of an array. Shapes: N batch, T time, D features, H hidden, V tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Host = Any
"""A NumPy array of the kernels' dtype."""


Tape = tuple[Any, tuple[int, int], bool, Host | None, int, Host | None]
"""What one forward call keeps for its backward call: the capsule of module.cpp; N and T; whether the input was tokens;
the table of embedded ones, with those in use alone; V; and which are in use, where that is not all of them.

A plain tuple: a named one takes ten times as long to make, and small training steps notice."""


FORMATS = {
    "bfloat16": ("bfloat16-pairs", "bfloat16"),
    "float16": ("float16",),
    "int8": ("int8-vnni", "int8"),
}
"""The precisions of packed weights with fewer bits than float32, and the formats of kernels/narrow.h, best first."""

AS_FLOAT32 = {
    target: {"bfloat16": 2**17, "float16": 2**20, "int8-vnni": 2**14, "int8": 2**14} for target in ("avx512", "avx2")
}
"""Where fewer bits gain nothing: by instruction set and format, the bytes that weights may take in float32 to stay so.

They are rounded as the format says. They fit into the caches, which read them faster than one row at a time turns 16
bits into float32: a vector of float16 is converted in the time of two products.
"""


def rounded(weights: Host, stored: str) -> Host:
    """Weights (rows, K) of float32 as the values that a format of `FORMATS` has for them."""
    if stored == "float16":
        return weights.astype(np.float16).astype(np.float32)
    if stored == "bfloat16":  # to the nearest, ties to even
        words = np.ascontiguousarray(weights).view(np.uint32)
        return ((words + 0x7FFF + (words >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    scale = abs(weights).max(axis=1, keepdims=True) / np.float32(127)
    return np.rint(weights / np.where(scale > 0, scale, 1)) * scale  # type: ignore[no-any-return]


class CompiledCell:
    """The kernels of one cell, dtype and instruction set.

    Parameters
    ----------
    kernels
        The extension module.
    found
        What its `find` returned for their names.
    target, dtype
        The instruction set, and `"float32"` or `"float64"`, as in those names.
    """

    def __init__(self, kernels: Any, found: tuple[Any, bool, str | None, list[str]], target: str, dtype: str) -> None:
        self._forward, self._backward = kernels.forward, kernels.backward
        self._pack, self._frozen = kernels.pack, kernels.frozen
        self._order, self._lengths = kernels.order, kernels.lengths
        self._kernels, self.has_c, self._second_bias, self.formats = found
        self.dtype = np.dtype(dtype)
        self._as_float32 = AS_FLOAT32.get(target, {})

    needs_context = False
    """It runs wherever it is called."""

    def order(self, xp: Any, lengths: list[int] | None, rows: int, time: int, device: Any) -> Any:
        """What `forward` takes for its `lengths`, checked and sorted once for all calls that share a batch."""
        return None if lengths is None else self._order(lengths, rows, time)

    def format_of(self, precision: str) -> str | None:
        """How weights are stored in this precision: the best format that this CPU has, or None where it has none."""
        return next((name for name in FORMATS[precision] if name in self.formats), None)

    def pack(self, params: Mapping[str, Host], precision: str | None = None) -> Any:
        """The parameters in the order in which the kernels read them, a copy: for `forward`'s `packed`.

        Of fewer bits, in a precision of `FORMATS` for which `format_of` has an answer, they serve inference alone.
        """
        weight_ih, weight_hh = params["weight_ih"], params["weight_hh"]
        D, H = weight_ih.shape[1], weight_hh.shape[1]
        second_bias = self._second_bias and params[self._second_bias]
        stored = "full" if precision is None else self.format_of(precision)
        if stored and weight_ih.nbytes + weight_hh.nbytes <= self._as_float32.get(stored, 0):
            weight_ih, weight_hh, stored = rounded(weight_ih, stored), rounded(weight_hh, stored), "full"
        return self._pack(self._kernels, D, H, weight_ih, weight_hh, params["bias"], second_bias, stored)

    def frozen(self, packed: Any) -> Callable[[Any, Any], Any]:
        """A function of x and state for calls so short that unpacking their arguments counts: one step of a stream.

        It returns outputs and state as a layer of one cell does, or None for arguments that need more than this: other
        types, shapes or orders of memory. Then `forward` is to be asked, or to say what is wrong. `packed` comes from
        `pack`.
        """
        call: Callable[[Any, Any], Any] = self._frozen(self._kernels, packed, np.ndarray, np.empty, self.dtype)
        return call

    def forward(
        self,
        params: Mapping[str, Host],
        x: Host | None,
        state: Any = None,
        lengths: Any = None,
        *,
        tokens: tuple[Host, Host | None] | None = None,
        keep: bool = True,
        reverse: bool = False,
        outputs: bool = True,
        out: Host | None = None,
        column: int = 0,
        packed: Any = None,
    ) -> tuple[Host | None, Any, Tape | None]:
        """As in `xlstm.cells.walk.forward`. `packed`, of the same parameters, saves packing them.

        `lengths` is a list of integers, None where all rows are full, or what `order` made of them,
        which saves checking and sorting the list in each of a batch's calls.
        """
        weight_ih, weight_hh = params["weight_ih"], params["weight_hh"]
        D, H = weight_ih.shape[1], weight_hh.shape[1]
        ids = table = chosen = None
        V = vocabulary = 0
        if tokens is None:
            N, T, _ = x.shape  # type: ignore[union-attr]
        else:
            ids, table = tokens
            N, T = ids.shape
            V = vocabulary = D if table is None else table.shape[0]
            if V > N * T and (packed is None or table is not None):
                # Only the tokens in use: a projection of the whole vocabulary would cost more than one of the batch.
                if lengths is not None:  # anything may stand in the padding
                    valid = lengths if isinstance(lengths, list) else self._lengths(lengths)
                    ids = np.where(np.arange(T) < np.asarray(valid)[:, None], ids, ids[:, :1])
                if ids.min() < 0 or ids.max() >= V:
                    raise IndexError(f"tokens from {ids.min()} to {ids.max()}: expected 0 to {V - 1}")
                if keep:
                    chosen, ids = np.unique(ids, return_inverse=True)
                else:
                    chosen, ids = ids.reshape(-1), np.arange(N * T)
                ids = ids.reshape(N, T)
                V = len(chosen)
                if table is None:
                    weight_ih, D, packed = np.ascontiguousarray(weight_ih[:, chosen]), V, None
                else:
                    table = table[chosen]
            ids = np.require(ids, np.int64, ["C", "A"])
        h0, c0 = (state or (None, None)) if self.has_c else (state, None)
        all_h = out
        if outputs and out is None:
            all_h = np.empty((N, T, H), self.dtype)
        h = np.empty((N, H), self.dtype)
        c = np.empty((N, H), self.dtype) if self.has_c else None
        width, column = (H, 0) if out is None else (out.shape[2], column)
        tape = self._forward(
            self._kernels,
            (N, T, D, H, V, V > 0 and table is None, reverse, keep, width, column),
            lengths,
            x,
            ids,
            table,
            weight_ih,
            weight_hh,
            params["bias"],
            self._second_bias and params[self._second_bias],
            packed,
            h0,
            c0,
            all_h,
            h,
            c,
        )
        kept = (tape, (N, T), tokens is not None, table, vocabulary, chosen) if keep else None
        return all_h, (h, c) if self.has_c else h, kept

    def backward(
        self,
        params: Mapping[str, Host],
        tape: Tape,
        d_outputs: Host | None = None,
        d_state: Any = None,
        input_gradient: bool = True,
        *,
        into: Mapping[str, Host] | None = None,
        accumulate: bool = True,
        add_rows: Any = None,
        state_gradient: bool = True,
        column: int | None = None,
    ) -> tuple[Host | None, Any, Mapping[str, Host]]:
        """As in `xlstm.cells.walk.backward`; `add_rows` is not needed."""
        weight_ih, weight_hh = params["weight_ih"], params["weight_hh"]
        H = weight_hh.shape[1]
        kept, (N, T), tokens, table, vocabulary, chosen = tape
        if into is None:
            into, accumulate = {name: np.empty_like(value) for name, value in params.items()}, False
        d_weight_ih = into["weight_ih"]
        dx = d_table = None
        if table is not None:
            if input_gradient:
                d_table = np.empty(table.shape, self.dtype)
        elif chosen is not None:  # one-hot tokens, of which the kernels know those in use
            d_weight_ih = np.zeros((weight_ih.shape[0], len(chosen)), self.dtype)
            if not accumulate:
                into["weight_ih"][...] = 0
        elif input_gradient and not tokens:
            dx = np.empty((N, T, weight_ih.shape[1]), self.dtype)
        dh, dc = (d_state or (None, None)) if self.has_c else (d_state, None)
        dh0 = np.empty((N, H), self.dtype) if state_gradient else None
        dc0 = np.empty((N, H), self.dtype) if state_gradient and self.has_c else None
        self._backward(
            kept,
            H if d_outputs is None else d_outputs.shape[2],
            column or 0,
            table,
            None if dx is None and d_table is None else weight_ih,
            weight_hh,
            d_outputs,
            dh,
            dc,
            dx,
            d_table,
            dh0,
            dc0,
            d_weight_ih,
            into["weight_hh"],
            into["bias"],
            self._second_bias and into[self._second_bias],
            accumulate,
        )
        if chosen is not None:
            if table is None:
                into["weight_ih"][:, chosen] += d_weight_ih
            elif d_table is not None:
                whole = np.zeros((vocabulary, d_table.shape[1]), self.dtype)
                whole[chosen] = d_table
                d_table = whole
        d_initial = (dh0, dc0) if self.has_c and state_gradient else dh0
        return d_table if dx is None else dx, d_initial, into
