"""How arrays get to what cuDNN reads, and its results back: padding, direction, strides, 16 bits, in a launch each.

cuDNN reads batches (N, T, F) without gaps. Before each call what stands in the padding is zeroed, since nothing is said
about NaN there, and for the reverse direction, which it has not alone, each row's valid steps are turned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..module import THREADS, Module, blocks, contiguous, launch, strides

ALIGNMENT = 256
"""Bytes: weights that stand so are read where they are. It is what CUDA aligns its own memory to."""

VECTOR = 16
"""Bytes: to what arrays that cuDNN reads are aligned, so that it may read several numbers at once."""

MOST_PARTS = 256
"""Blocks that look for the greatest gradient: one more of as many threads looks through what they found."""


class Storage:
    """Arrays as cuDNN gets them.

    Parameters
    ----------
    cupy
        The module `cupy`.
    dtype
        Of the arrays outside.
    sixteen
        `"bfloat16"` or `"float16"`: what they are inside; None where they are the same.
    """

    def __init__(self, cupy: Any, dtype: str, sixteen: str | None) -> None:
        self._cupy, self.dtype, self.is_exact = cupy, np.dtype(dtype), sixteen is None
        self._plain = Module(cupy, "padding.cu", dtype)
        self._kernels = self._plain if sixteen is None else Module(cupy, "sixteen.cu", dtype, (sixteen.upper(),))
        self._number = self.dtype.type

    def _words(self, count: int) -> int:
        """How many elements of a buffer hold so many numbers."""
        return count if self.is_exact else -(-count // 2)

    # ------------------------------------------------------------ buffers

    def empty(self, count: int) -> Any:
        """A buffer for so many numbers."""
        return self._cupy.empty(self._words(count), self.dtype if self.is_exact else np.uint32)

    def zeros(self, count: int) -> Any:
        """The same, all zero."""
        return self._cupy.zeros(self._words(count), self.dtype if self.is_exact else np.uint32)

    # ------------------------------------------------------------ on the way in

    def batch(self, x: Any, steps: int, lengths: Any, reverse: bool, scale: Any = None, copy: bool = True) -> Any:
        """The first `steps` steps of x (N, T, F), as cuDNN is to read them.

        Without `copy` it is x itself where nothing has to be done.
        """
        N, _, F = x.shape
        if not copy and lengths is None and not reverse and self._is_read_as_it_is(x):
            return x
        target = self.empty(N * steps * F)
        launch(
            self._kernels.take, len(target), x, *strides(x), target, lengths, int(reverse), N, steps, F, scale
        )  # fmt: skip
        return target

    def tokens(
        self, ids: Any, table: Any, D: int, steps: int, lengths: Any, reverse: bool, keep: bool
    ) -> tuple[Any, Any]:
        """The rows of `table` for `ids` (N, T), or without a table the unit vectors; with `keep` the ids, (N·steps,).

        These are those that were read, in the order of the walk, -1 in the padding and for what is no token: a sum of
        rows by their ids leaves them out.
        """
        N = ids.shape[0]
        target = self.empty(N * steps * D)
        kept = self._cupy.empty(N * steps, np.int64) if keep else None
        ids = ids.astype(np.int64, copy=False)
        V = D if table is None else table.shape[0]
        table = contiguous(table, self.dtype)
        source = (ids, *strides(ids), table, V)
        launch(self._kernels.embed, len(target), *source, target, kept, lengths, int(reverse), N, steps, D)
        return target, kept

    def state(self, state: Any, scale: Any = None, copy: bool = True) -> Any:
        """A state (N, H) or None, as cuDNN is to read it."""
        if state is None or (not copy and self._is_read_as_it_is(state)):
            return state
        return self.batch(state[:, None, :], 1, None, False, scale)

    def _is_read_as_it_is(self, array: Any) -> bool:
        """Whether cuDNN reads it where it is: without gaps, and where several numbers may be read at once."""
        return self.is_exact and array.flags.c_contiguous and array.data.ptr % VECTOR == 0

    def weights(self, params: Mapping[str, Any], size: int, copy: bool = False) -> Any:
        """The weight space, of so many bytes: the parameters themselves where they stand so, else a copy.

        It is [weight_ih | weight_hh | bias]; and, for a cell with one more bias, a bias of each gate's part from h.
        """
        parts = [params[name] for name in ("weight_ih", "weight_hh", "bias")]
        if not copy and self.are_in_place(params, size):
            return parts[0]
        itemsize = self.dtype.itemsize if self.is_exact else 2
        space = self.zeros(size // itemsize) if size != self._size(params) * itemsize else self.empty(size // itemsize)
        parts = [contiguous(part, self.dtype) for part in parts]
        gap, bias_hn = _of_recurrence(params)
        sized = [argument for part in parts for argument in (part, part.size)]
        numbers = self._size(params)
        launch(self._kernels.pack, self._words(numbers), *sized, gap, bias_hn, numbers, space)
        return space

    def are_in_place(self, params: Mapping[str, Any], size: int) -> bool:
        """Whether the parameters, or their gradients, stand in memory just as the weight space of so many bytes."""
        if not self.is_exact or "bias_hn" in params or size != self._size(params) * self.dtype.itemsize:
            return False
        at: int | None = None
        for name in ("weight_ih", "weight_hh", "bias"):
            part = params[name]
            address = part.data.ptr
            if not part.flags.c_contiguous or (address % ALIGNMENT if at is None else address != at):
                return False
            at = address + part.nbytes
        return True

    def _size(self, params: Mapping[str, Any]) -> int:
        """How many numbers the weight space has."""
        own = sum(params[name].size for name in ("weight_ih", "weight_hh", "bias"))
        return int(own + params["bias"].size if "bias_hn" in params else own)

    # ------------------------------------------------------------ and back

    def put(
        self, source: Any, target: Any, steps: int, lengths: Any, reverse: bool, scale: Any = None
    ) -> None:  # fmt: skip
        """target (N, T, F), of which the features stand together, from what cuDNN wrote: zero in the padding."""
        N, T, F = target.shape
        row, step, _ = strides(target)
        launch(
            self._kernels.give, N * T * F, source, steps, target, row, step, lengths, int(reverse), N, T, F, scale
        )  # fmt: skip

    def result(self, buffer: Any, N: int, H: int, scale: Any = None) -> Any:
        """A state (N, H) that cuDNN wrote, for the caller."""
        if self.is_exact:
            return buffer.reshape(N, H)
        target = self._cupy.empty((N, 1, H), self.dtype)
        self.put(buffer, target, 1, None, False, scale)
        return target.reshape(N, H)

    def put_gradients(self, space: Any, into: Mapping[str, Any], accumulate: bool, scale: Any) -> None:
        """The gradients of the parameters from those of the weight space."""
        gap, bias_hn = _of_recurrence(into)
        parts = [into[name] for name in ("weight_ih", "weight_hh", "bias")]
        sized = [argument for part in parts for argument in (part, part.size)]
        numbers = self._size(into)
        launch(
            self._kernels.unpack, numbers, space, *sized, gap, bias_hn, numbers, int(accumulate), scale
        )  # fmt: skip

    def clear(self, first: Any, numbers: int) -> None:
        """Zero so many numbers that stand together in memory, of which the array `first` is the beginning."""
        launch(self._plain.clear, numbers, first, numbers)

    def scale(self, d_outputs: Any, d_state: tuple[Any, Any], steps: int, lengths: Any, shape: Any) -> Any:
        """What gradients are multiplied with inside, (1,) on the device: None but for float16, whose range is small.

        A power of two, so that it costs no digit, which brings the greatest of them to 1, or lower for large batches,
        whose weight gradients are sums over all steps.
        """
        N, H = shape
        scale = self._cupy.empty(1, self.dtype)
        (parts,) = blocks(N * H if d_outputs is None else N * steps * H, 4 * THREADS)
        part = self._cupy.empty(min(parts, MOST_PARTS), self.dtype)
        given = [d_outputs, *((0, 0, 0) if d_outputs is None else strides(d_outputs)), lengths, N, steps, H]
        for state in d_state:
            given += [state, *((0, 0) if state is None else strides(state))]
        self._kernels.greatest_gradients((part.size,), (THREADS,), (*given, part))
        wanted = self._number(min(1.0, 2.0**13 / (N * steps)))
        self._kernels.gradient_scale((1,), (THREADS,), (part, part.size, wanted, scale))
        return scale


def _of_recurrence(params: Mapping[str, Any]) -> tuple[int, Any]:
    """Of a cell with one more bias: before how many numbers of the recurrence's biases it stands, and it itself."""
    bias_hn = params.get("bias_hn")
    return (0, None) if bias_hn is None else (params["bias"].size - bias_hn.size, bias_hn)
