"""A cell, which is one recurrent layer in one direction, by cuDNN: the signature of `xlstm.cells`.

The caller has checked the arguments, as for `xlstm.backends.cpu.cell.CompiledCell`.

Shapes: N batch, T time, D features, H hidden, V tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import Unsupported
from ..order import Order, ordered
from . import plan
from .algorithms import Algorithms
from .library import CudnnError, Library
from .plan import Kind, Plan, Plans, Sizes
from .storage import Storage

MOST_STEPS, MOST = 65535, 2**31 - 1
"""cuDNN takes no more steps, and its sizes are C integers."""

MOST_ONE_HOT = 256
"""One-hot tokens of a larger vocabulary are not made into features: looking rows up, as other levels do, costs less."""

CELLS = {
    "lstm": (plan.LSTM, plan.SINGLE_INP_BIAS, 4),
    "rnn": (plan.RNN_TANH, plan.SINGLE_INP_BIAS, 1),
    # One bias would stand outside of the reset gate: the candidate's second is inside.
    "gru": (plan.GRU, plan.DOUBLE_BIAS, 3),
}
"""Of each cell, whose gates stand in cuDNN's own order: its mode, which biases it has, and its number of gates."""

KINDS = {
    ("float32", "highest"): (plan.FLOAT, plan.FLOAT, plan.FMA_MATH, 4),
    ("float32", "high"): (plan.FLOAT, plan.FLOAT, plan.DEFAULT_MATH, 4),
    ("float32", "bfloat16"): (plan.BFLOAT16, plan.FLOAT, plan.DEFAULT_MATH, 2),
    ("float32", "float16"): (plan.HALF, plan.FLOAT, plan.TENSOR_OP_MATH, 2),
    ("float64", "highest"): (plan.DOUBLE, plan.DOUBLE, plan.DEFAULT_MATH, 8),
}
"""What cuDNN is told of each dtype and precision: the type of arrays, of sums, the mathematics, bytes of a number."""


class Packed(NamedTuple):
    """Parameters that are not written any more, as cuDNN reads them."""

    space: Any
    size: int


class Tape:
    """What one forward call keeps for its backward call.

    The reserve space is of use once, since the backward call changes it: it is taken out by the first, and a further
    one runs the forward pass again, with the parameters that it is given. All else stays as it is.
    """

    __slots__ = ("algorithm", "cell", "initial", "order", "reserve", "reverse", "shape", "sizes", "tokens", "x", "y")

    def __init__(self, cell: CudnnCell, sizes: Sizes, shape: tuple[int, int], order: Order | None) -> None:
        self.cell, self.sizes, self.shape, self.order = cell, sizes, shape, order
        self.algorithm = plan.STANDARD
        self.reverse = False
        self.x: Any = None  # what cuDNN read
        self.y: Any = None  # and wrote
        self.initial: tuple[Any, Any] = (None, None)
        self.tokens: tuple[Any, int | None] | None = None  # the ids that were read, and V of an embedded table
        self.reserve: list[Any] = []


class CudnnCell:
    """One cell by cuDNN.

    Parameters
    ----------
    library
        What `library.load` returned.
    cupy
        The module `cupy`.
    cell
        `"lstm"`, `"rnn"` or `"gru"`.
    dtype
        `"float32"` or `"float64"`: of the parameters and all that goes in and out.
    precision
        What may be computed in: `"highest"`, IEEE; `"high"`, TF32 in products; `"bfloat16"` or `"float16"`, in which x,
        weights, states and outputs are kept inside, sums being in float32. float64 is computed in float64 in any case.

    Attributes
    ----------
    persistent : bool
        Whether algorithms that keep the weights on the chip may be tried: a check that finds them wrong says no.
    """

    needs_context = True
    """It runs where its device is the current one."""

    def __init__(self, library: Library, cupy: Any, cell: str, dtype: str, precision: str = "highest") -> None:
        mode, biases, gates = CELLS[cell]
        kind = KINDS[dtype, "highest" if dtype == "float64" else precision]
        data, computed, mathematics, itemsize = kind
        self._kind = Kind(mode, biases, gates, data, computed, mathematics, itemsize)
        self._library, self._cupy, self.name = library, cupy, cell
        self._sixteen = precision if itemsize == 2 else None
        self._storage = Storage(cupy, dtype, self._sixteen)
        self._plans = Plans(library, self._kind)
        self._algorithms = Algorithms(cupy, cell, self._kind)
        self.dtype = np.dtype(dtype)
        self.persistent = True
        self._has_c = cell == "lstm"

    # ------------------------------------------------------------ for a batch, and for inference

    def order(self, xp: Any, lengths: list[int] | None, rows: int, time: int, device: Any) -> Order | None:
        """What `forward` takes for its `lengths`: sorted once for all calls that share a batch."""
        return None if lengths is None else Order(self._cupy, lengths, time)

    def pack(self, params: Mapping[str, Any], precision: str | None = None) -> Packed:
        """The parameters as cuDNN reads them, a copy: for `forward`'s `packed`."""
        D, H = params["weight_ih"].shape[1], params["weight_hh"].shape[1]
        size = self._attempt(lambda: self._plan(Sizes(1, 1, D, H, None), plan.STANDARD, False).weights)
        return Packed(self._storage.weights(params, size, copy=True), size)

    # ------------------------------------------------------------ forward

    def forward(
        self,
        params: Mapping[str, Any],
        x: Any,
        state: Any = None,
        lengths: Any = None,
        *,
        tokens: tuple[Any, Any] | None = None,
        keep: bool = True,
        reverse: bool = False,
        outputs: bool = True,
        out: Any = None,
        column: int = 0,
        packed: Packed | None = None,
    ) -> tuple[Any, Any, Tape | None]:
        """As in `xlstm.cells.walk.forward`. `packed`, of the same parameters, saves packing them.

        Raises
        ------
        Unsupported
            If cuDNN cannot do this call. Nothing was changed.
        CudnnError
            If it failed in another way: the device may be lost.
        """
        D, H = params["weight_ih"].shape[1], params["weight_hh"].shape[1]
        N, T = x.shape[:2] if tokens is None else tokens[0].shape
        order = ordered(self._cupy, lengths, T)
        # Rows of one length are full ones of fewer steps, which more algorithms take.
        own_lengths = None if order is None or order.is_even else tuple(order.lengths)
        sizes = Sizes(N, T if order is None else order.steps, D, H, own_lengths)
        self._check(sizes, tokens)
        storage, device_lengths = self._storage, None if order is None else order.on_device
        tape = Tape(self, sizes, (N, T), order)
        tape.reverse = reverse
        if tokens is None:
            tape.x = storage.batch(x, sizes.T, device_lengths, reverse, copy=keep)
        else:
            ids, table = tokens
            tape.x, kept = storage.tokens(ids, table, D, sizes.T, device_lengths, reverse, keep and table is not None)
            tape.tokens = (kept, None if table is None else table.shape[0])
        h0, c0 = (state or (None, None)) if self._has_c else (state, None)
        tape.initial = (storage.state(h0, copy=keep), storage.state(c0, copy=keep))
        # What stands in the padding of y is read again by the backward pass, and need not have been written.
        tape.y = (storage.empty if order is None else storage.zeros)(N * sizes.T * H)
        last = storage.empty(N * H), storage.empty(N * H) if self._has_c else None
        self._attempt(lambda: self._run(tape, tape.y, last, params, packed, keep))
        all_h = self._outputs(tape, keep, out, column) if outputs else None
        h = storage.result(last[0], N, H)
        final = (h, storage.result(last[1], N, H)) if self._has_c else h
        return all_h, final, tape if keep else None

    def _check(self, sizes: Sizes, tokens: tuple[Any, Any] | None) -> None:
        """Raise Unsupported for what cuDNN, or this use of it, is known not to do."""
        if sizes.T > MOST_STEPS:
            raise Unsupported(f"cuDNN takes sequences of up to {MOST_STEPS} steps, these have {sizes.T}")
        N, T, D, H, _ = sizes
        if max(N * T * max(D, H), self._kind.gates * H) > MOST:
            raise Unsupported(
                f"cuDNN takes sizes of up to {MOST}, and so many numbers in an array; got {(N, T, D, H)} (rows, steps, "
                "features, hidden units)"
            )
        if tokens is not None and tokens[1] is None and sizes.D > MOST_ONE_HOT:
            raise Unsupported(f"one-hot tokens become features for up to {MOST_ONE_HOT} tokens, there are {sizes.D}")

    def _outputs(self, tape: Tape, keep: bool, out: Any, column: int) -> Any:
        """(N, T, H), or `out` with these columns: a copy wherever the tape keeps what cuDNN wrote."""
        (N, T), H, order, storage = tape.shape, tape.sizes.H, tape.order, self._storage
        if out is None:
            if storage.is_exact and order is None and not keep and not tape.reverse:
                return tape.y.reshape(N, T, H)
            out, column = self._cupy.empty((N, T, H), self.dtype), 0
        target = out[:, :, column : column + H]
        storage.put(tape.y, target, tape.sizes.T, None if order is None else order.on_device, tape.reverse)
        return out

    def _run(self, tape: Tape, y: Any, last: Any, params: Mapping[str, Any], packed: Packed | None, keep: bool) -> None:
        """One forward call of cuDNN's into y and the last states, by the first algorithm that it takes."""

        def call(algorithm: int) -> None:
            p = self._plan(tape.sizes, algorithm, keep)
            # An algorithm may want a larger space than the one that was packed for.
            fits = packed is not None and packed.size == p.weights
            space = packed.space if packed is not None and fits else self._storage.weights(params, p.weights)
            work, reserve = self._bytes(p.workspace), self._bytes(p.reserve) if keep else None
            (hx, cx), (hy, cy) = map(_addresses, (tape.initial, last))
            self._library(
                "cudnnRNNForward", self._handle(), p.rnn, int(keep), None, p.x, _address(tape.x), p.y, _address(y),
                p.state, hx, hy, p.state, cx, cy, p.weights, _address(space), p.workspace, _address(work),
                p.reserve if keep else 0, _address(reserve),
            )  # fmt: skip
            tape.algorithm = algorithm
            if keep:
                tape.reserve.append(reserve)

        algorithms = self._algorithms.to_try(tape.sizes, self._device(), keep) if self.persistent else [plan.STANDARD]
        self._algorithms.first_of(algorithms, self._device(), tape.sizes, keep, call)

    # ------------------------------------------------------------ backward

    def backward(
        self,
        params: Mapping[str, Any],
        tape: Tape,
        d_outputs: Any = None,
        d_state: Any = None,
        input_gradient: bool = True,
        *,
        into: Mapping[str, Any] | None = None,
        accumulate: bool = True,
        add_rows: Any = None,
        state_gradient: bool = True,
        column: int | None = None,
    ) -> tuple[Any, Any, Mapping[str, Any]]:
        """As in `xlstm.cells.walk.backward`. A tape serves as often as it is asked.

        `params` are those of the forward call, unchanged since: the weights are read again, and from the second time on
        the forward pass is run again, for cuDNN changes the reserve space which that left.

        Raises
        ------
        TypeError
            If the tape is not of this cell.
        ValueError
            If a gradient of embedded tokens is asked for without `add_rows`.
        CudnnError
            If cuDNN failed.
        """
        if not isinstance(tape, Tape) or tape.cell is not self:
            raise TypeError(f"tape must be what forward of this cell returned (with keep=True), got {type(tape)}.")
        embedded = tape.tokens is not None and tape.tokens[1] is not None
        if embedded and input_gradient and add_rows is None:
            raise ValueError("the gradient of tokens needs add_rows: pass the function of that name of the backend.")
        storage, sizes, order = self._storage, tape.sizes, tape.order
        N, H = sizes.N, sizes.H
        lengths = None if order is None else order.on_device
        if d_outputs is not None and column is not None:
            d_outputs = d_outputs[:, :, column : column + H]
        d_last = (d_state or (None, None)) if self._has_c else (d_state, None)
        scale = None
        if self._sixteen == "float16" and any(d is not None for d in (d_outputs, *d_last)):
            scale = storage.scale(d_outputs, d_last, sizes.T, lengths, (N, H))
        if d_outputs is None:
            dy = storage.zeros(N * sizes.T * H)
        else:
            dy = storage.batch(d_outputs, sizes.T, lengths, tape.reverse, scale, copy=False)
        dhy, dcy = (storage.state(d, scale, copy=False) for d in d_last)
        dx = storage.empty(N * sizes.T * sizes.D)
        d_first: tuple[Any, Any] = (None, None)
        if state_gradient:
            d_first = storage.empty(N * H), storage.empty(N * H) if self._has_c else None
        into, accumulate = (self._gradients_like(params), False) if into is None else (into, accumulate)
        self._differentiate(params, tape, dy, (dhy, dcy), dx, d_first, into, accumulate, scale)
        d_initial = None
        if state_gradient:
            d_states = [storage.result(d, N, H, scale) for d in d_first if d is not None]
            d_initial = tuple(d_states) if self._has_c else d_states[0]
        return self._d_input(tape, dx, input_gradient, add_rows, lengths, scale), d_initial, into

    def _differentiate(
        self, params: Mapping[str, Any], tape: Tape, dy: Any, d_last: Any, dx: Any, d_first: Any,
        into: Mapping[str, Any], accumulate: bool, scale: Any,
    ) -> None:  # fmt: skip
        """The two backward calls of cuDNN's: that of the data, which prepares what that of the weights reads."""
        reserve = self._reserve(params, tape)
        try:
            self._backward_data(params, tape, reserve, dy, d_last, dx, d_first)
        except CudnnError as error:
            if not error.not_supported or tape.algorithm == plan.STANDARD:
                raise
            # It was taken forward and not backward: the plain algorithm does both, from a reserve space of its own.
            self._algorithms.refuse(self._device(), tape.sizes, tape.algorithm, True)
            reserve = self._reserve(params, tape)
            self._backward_data(params, tape, reserve, dy, d_last, dx, d_first)
        p, storage = self._plan(tape.sizes, tape.algorithm, True), self._storage
        in_place = storage.are_in_place(into, p.weights)
        if in_place:
            space = into["weight_ih"]
            if not accumulate:  # cuDNN adds
                storage.clear(space, p.weights // self._kind.itemsize)
        else:
            space = storage.zeros(p.weights // self._kind.itemsize)
        work = self._bytes(p.workspace)
        self._library(
            "cudnnRNNBackwardWeights_v8", self._handle(), p.rnn, plan.WGRAD_MODE_ADD, None, p.x, _address(tape.x),
            p.state, _address(tape.initial[0]), p.y, _address(tape.y), p.weights, _address(space), p.workspace,
            _address(work), p.reserve, _address(reserve),
        )  # fmt: skip
        if not in_place:
            storage.put_gradients(space, into, accumulate, scale)

    def _backward_data(
        self, params: Mapping[str, Any], tape: Tape, reserve: Any, dy: Any, d_last: Any, dx: Any, d_first: Any
    ) -> None:
        p = self._plan(tape.sizes, tape.algorithm, True)
        space, work = self._storage.weights(params, p.weights), self._bytes(p.workspace)
        (hx, cx), (dhy, dcy), (dhx, dcx) = map(_addresses, (tape.initial, d_last, d_first))
        self._library(
            "cudnnRNNBackwardData_v8", self._handle(), p.rnn, None, p.y, _address(tape.y), _address(dy), p.x,
            _address(dx), p.state, hx, dhy, dhx, p.state, cx, dcy, dcx, p.weights, _address(space), p.workspace,
            _address(work), p.reserve, _address(reserve),
        )  # fmt: skip

    def _reserve(self, params: Mapping[str, Any], tape: Tape) -> Any:
        """The reserve space of the tape's forward call, or of a new one where a backward call had it."""
        try:
            return tape.reserve.pop()
        except IndexError:
            y = self._storage.zeros(tape.sizes.N * tape.sizes.T * tape.sizes.H)
            self._run(tape, y, (None, None), params, None, True)
            return tape.reserve.pop()

    def _d_input(self, tape: Tape, dx: Any, wanted: bool, add_rows: Any, lengths: Any, scale: Any) -> Any:
        """The gradient of x (N, T, D), or that of the table (V, D) for embedded tokens."""
        (N, T), (_, steps, D, _, _), storage = tape.shape, tape.sizes, self._storage
        if not wanted or (tape.tokens is not None and tape.tokens[1] is None):
            return None
        if tape.tokens is None:
            if storage.is_exact and tape.order is None and not tape.reverse:
                return dx.reshape(N, T, D)
            d_x = self._cupy.empty((N, T, D), self.dtype)
            storage.put(dx, d_x, steps, lengths, tape.reverse, scale)
            return d_x
        ids, V = tape.tokens
        rows = dx
        if tape.order is not None or not storage.is_exact:  # in the order of the ids, and zero in the padding
            rows = self._cupy.empty((N, steps, D), self.dtype)
            storage.put(dx, rows, steps, lengths, False, scale)
        d_table = self._cupy.zeros((V, D), self.dtype)
        add_rows(d_table, ids, rows.reshape(N * steps, D))
        return d_table

    def _gradients_like(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Uninitialised gradients of the parameters, together in memory."""
        flat = self._cupy.empty(sum(value.size for value in params.values()), self.dtype)
        gradients, start = {}, 0
        for name, value in params.items():
            gradients[name] = flat[start : start + value.size].reshape(value.shape)
            start += value.size
        return gradients

    # ------------------------------------------------------------ what a call needs

    def _attempt(self, call: Callable[[], Any]) -> Any:
        """The result of a call; Unsupported where cuDNN is in order and only cannot do it."""
        try:
            return call()
        except CudnnError as error:
            if error.not_supported:
                raise Unsupported(str(error)) from error
            raise

    def _device(self) -> int:
        return int(self._cupy.cuda.runtime.getDevice())

    def _handle(self) -> Any:
        return self._library.handle(self._device(), int(self._cupy.cuda.get_current_stream().ptr))

    def _plan(self, sizes: Sizes, algorithm: int, training: bool) -> Plan:
        return self._plans.get(self._handle(), self._device(), sizes, algorithm, training)

    def _bytes(self, size: int) -> Any:
        return self._cupy.empty(max(size, 1), np.uint8)


def _address(array: Any) -> int | None:
    """Where an array's memory begins; None for a null pointer."""
    return None if array is None else int(array.data.ptr)


def _addresses(pair: tuple[Any, Any]) -> tuple[int | None, int | None]:
    return _address(pair[0]), _address(pair[1])
