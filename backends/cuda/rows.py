"""Rows of tables on a GPU: sums in a fixed order, blocks of ragged sequences, masks that travel as bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .module import DTYPES, Module, contiguous, launch

GROUPING, COLUMNS, ALONG = 128, 32, 32  # as in kernels/rows.cu
DIRECT = 2048
"""The largest table that is sorted for in one pass."""


class Rows:
    """The kernels on one device.

    Parameters
    ----------
    cupy
        The module `cupy`.

    Its methods run on the current device and stream, which has to be that of the arrays.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    @cached_property
    def _of_dtype(self) -> dict[str, Module]:
        return {dtype: Module(self._cupy, "rows.cu", dtype) for dtype in DTYPES}

    def add(self, target: Any, ids: Any, rows: Any, *, direct: int | None = None) -> None:
        """target[ids[k]] += rows[k] for every k, in the order of the k: the same bits every run.

        The ids are sorted by one pass for tables of up to `DIRECT` rows, else by two, by the ids' lower and upper half:
        each reads all ids about √V times for a table of V rows. An id that is no row of the table adds nothing.

        Parameters
        ----------
        target : (V, G)
        ids : (K,) integers
        rows : (K, G)
        direct
            In place of `DIRECT`, for tests of both ways.
        """
        cupy, dtype = self._cupy, str(target.dtype)
        if dtype not in DTYPES:
            raise TypeError(f"rows are added to a table of float32 or float64, got {dtype}.")
        (V, G), (K,) = target.shape, ids.shape
        if rows.shape != (K, G):
            raise ValueError(f"rows must be {(K, G)}, for {K} ids and a table {(V, G)}; got {tuple(rows.shape)}.")
        if 0 in (V, G, K):
            return
        ids, rows, table = contiguous(ids, "int64"), contiguous(rows, dtype), contiguous(target, dtype)
        kernels, order = self._of_dtype[dtype], None
        direct = DIRECT if direct is None else direct
        radix = V + 1 if direct >= V else math.isqrt(V) + 1  # V itself stands for ids that are no rows
        divisor = 1
        while divisor <= V:
            by_digit = cupy.empty((K,), dtype="int64")
            kernels.group((radix,), (GROUPING,), (ids, order, by_digit, K, V, divisor, radix))
            order, divisor = by_digit, divisor * radix
        grid = (min(V, K) * -(-G // COLUMNS),)
        kernels.add_sorted(grid, (COLUMNS, ALONG), (table, ids, order, rows, K, V, G, int(K < V)))
        if table is not target:
            target[...] = table

    def gather(self, steps: Any, starts: Any, lengths: Any, time: int) -> Any:
        """Ragged sequences as one block, zero after each row's length.

        Parameters
        ----------
        steps : (·, D) or (·,)
            All steps, one sequence after another: float32, float64 or int64.
        starts, lengths : (N,) int64
            Where each sequence begins, and how many steps it has, at most `time`.
        time
            T.

        Returns
        -------
        (N, T, D) or (N, T), like the steps.
        """
        cupy, (N,), width = self._cupy, starts.shape, math.prod(steps.shape[1:])
        out = cupy.empty((N, time, *steps.shape[1:]), dtype=steps.dtype)
        if out.size:
            dtype = str(steps.dtype)
            whole = dtype == "int64"
            steps = contiguous(steps, dtype)
            kernels = self._of_dtype["float32" if whole else dtype]
            kernel = kernels.gather_ids if whole else kernels.gather
            launch(kernel, out.size, steps, starts, lengths, out, N, time, width)
        return out

    def masks(self, kept: Sequence[Any], scale: float, dtype: str) -> list[Any]:
        """Masks of these host arrays of booleans: `scale` where true, else zero; by one upload of a bit each."""
        sizes = [mask.size for mask in kept]
        count = sum(sizes)
        flat = self._cupy.empty((count,), dtype=dtype)
        if count:
            expand = self._of_dtype[dtype].expand
            launch(expand, count, self._bits(kept), flat, count, np.dtype(dtype).type(scale))
        ends = np.cumsum(sizes).tolist()
        return [flat[end - size : end].reshape(mask.shape) for mask, size, end in zip(kept, sizes, ends, strict=True)]

    def put(self, ids: Any, where: Any, value: int) -> None:
        """ids[where] = value. ids contiguous int64, `where` a host array of booleans like it, of which bits travel."""
        if ids.shape != where.shape or ids.dtype != "int64" or not ids.flags.c_contiguous:
            raise ValueError(
                f"ids must be contiguous, int64 and {where.shape} like the booleans; got {ids.shape} of {ids.dtype}."
            )
        if ids.size:
            launch(self._of_dtype["float32"].put, ids.size, self._bits([where]), ids, ids.size, int(value))

    def _bits(self, arrays: Sequence[Any]) -> Any:
        """Host arrays of booleans, one after the other, as words on the device: the first one's bit is the lowest."""
        packed = np.packbits(np.concatenate([array.reshape(-1) for array in arrays]), bitorder="little")
        words = np.zeros(-(-len(packed) // 4), dtype="<u4")
        words.view(np.uint8)[: len(packed)] = packed
        return self._cupy.asarray(words)
