"""A cell by kernels of our own: in a time step one product by cuBLAS and one kernel for all the rest, each way.

What is valid of a batch stands "packed": step by step, in a step the rows that still run, longest first. Padding takes
part in nothing, and each product over all steps is one product. The kernels are in `kernels/steps.cu`, a cell's
mathematics in the file of its name beside that.

Shapes: N batch, T time, D features, H hidden, G rows of the weights, R the valid steps of all rows, W numbers that a
step keeps for a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .blas import Products, check_sizes
from .module import THREADS, Module, blocks, contiguous, launch, strides
from .order import Order, Walk, ordered, walk_of
from .projection import Array, Projection, Saved

MOST_PARTS = 64
"""Into how many parts at most the sum over all steps is cut that is the gradient of a bias: one kernel sums each, one
the parts."""

REVERSE, STARTED, KEEP = 1, 2, 4  # as in kernels/steps.cu


class Layout(NamedTuple):
    """How a cell's gates stand in what a step keeps (z) and in its gradient (dz), counted in blocks of H columns."""

    width: int  # the blocks of z and of dz
    from_x: tuple[tuple[int, int, int], ...]  # of dz, what the product with x has to do with: block, gate, how many
    from_h: int = 0  # the block of dz from which on the gates stand for the product with h
    has_c: bool = False


LAYOUTS = {
    "lstm": Layout(width=4, from_x=((0, 0, 4),), has_c=True),
    "rnn": Layout(width=1, from_x=((0, 0, 1),)),
    # dz: n from x, r, u, n from h. See kernels/gru.h.
    "gru": Layout(width=4, from_x=((1, 0, 2), (0, 2, 1)), from_h=1),
}
"""The cells that have kernels. Another one is a file like `kernels/lstm.h`, its macro in `kernels/steps.cu` and in
`module.VARIANTS`, and a row here."""


class Tape(NamedTuple):
    """What one forward call keeps for its backward call."""

    walk: Walk
    input: Saved
    z: Array  # (R, W), as the steps left it
    h: Array  # (R, H), before each step
    c: Array | None
    given: tuple[bool, bool]  # whether there was an initial h, an initial c


class FusedCell:
    """One cell, dtype and precision on one device, which has to be CuPy's current one.

    Parameters
    ----------
    cupy
        The module `cupy`.
    cell
        A name of `LAYOUTS`.
    dtype
        `"float32"` or `"float64"`.
    precision
        `"highest"` for IEEE arithmetic; `"high"` lets products in float32 read their factors as TF32.

    Raises
    ------
    Unsupported
        If CuPy cannot load cuBLAS.
    """

    needs_context = True

    def __init__(self, cupy: Any, cell: str, dtype: str, precision: str = "highest") -> None:
        self._cupy, self.dtype, self._layout = cupy, cupy.dtype(dtype), LAYOUTS[cell]
        self._kernels = Module(cupy, "steps.cu", dtype, (f"CELL_{cell.upper()}",))
        products = Products(cupy, dtype, precision)
        self._multiply = products.multiply
        self._projection = Projection(cupy, self._kernels, products, self._layout.from_x)

    def order(self, xp: Any, lengths: list[int] | None, rows: int, time: int, device: Any) -> Order | None:
        """What `forward` takes for its `lengths`, sorted once for all calls that share a batch."""
        return None if lengths is None else Order(self._cupy, lengths, time)

    def pack(self, params: Mapping[str, Array], precision: str | None = None) -> None:
        """Nothing: the products read the parameters as they are."""

    # ------------------------------------------------------------ forward

    def forward(
        self,
        params: Mapping[str, Array],
        x: Array | None,
        state: Any = None,
        lengths: list[int] | Order | None = None,
        *,
        tokens: tuple[Array, Array | None] | None = None,
        keep: bool = True,
        reverse: bool = False,
        outputs: bool = True,
        out: Array | None = None,
        column: int = 0,
        packed: None = None,
    ) -> tuple[Array | None, Any, Tape | None]:
        """As in `xlstm.cells.walk.forward`. `lengths` may be what `order` made of them.

        Raises
        ------
        Unsupported
            If a size is beyond what cuBLAS or a launch can take. Nothing was then done.
        """
        cupy, layout, dtype = self._cupy, self._layout, self.dtype
        H = params["weight_hh"].shape[1]
        N, T = x.shape[:2] if tokens is None else tokens[0].shape  # type: ignore[union-attr]
        order = ordered(cupy, lengths, T)
        R = N * T if order is None else order.starts[-1]
        D, W = params["weight_ih"].shape[1], layout.width * H
        V = 1 if tokens is None or tokens[1] is None else tokens[1].shape[0]
        check_sizes(R, W, D, V, *(-(-threads // THREADS) for threads in (R * W, N * T * D)))
        walk = walk_of(order, N, T, reverse)

        z = cupy.empty((R, W), dtype)
        saved = self._projection.forward(params["weight_ih"], x, tokens, walk, z)
        # Without a tape the state after a step takes the place of that before it.
        h = cupy.empty((R if keep else N, H), dtype)
        c = cupy.empty(h.shape, dtype) if layout.has_c else None
        h0, c0 = (state or (None, None)) if layout.has_c else (state, None)
        given = h0 is not None, c0 is not None
        if any(given):
            first = contiguous(h0, dtype), contiguous(c0, dtype), h, c, walk.on_device[0], N, H
            launch(self._kernels.first_states, N * H, *first)
        if outputs and out is None:
            make = cupy.empty if order is None else cupy.zeros
            out, column = make((N, T, H), dtype), 0
        elif not outputs:
            out = None
        h_final = cupy.empty((N, H), dtype)
        c_final = cupy.empty((N, H), dtype) if layout.has_c else None
        self._run(params, walk, z, (h, c), keep, given, out, column, (h_final, c_final))
        tape = Tape(walk, saved, z, h, c, given) if keep else None
        return out, (h_final, c_final) if layout.has_c else h_final, tape

    def _run(
        self,
        params: Mapping[str, Array],
        walk: Walk,
        z: Array,
        states: tuple[Array, Array | None],
        keep: bool,
        given: tuple[bool, bool],
        out: Array | None,
        column: int,
        final: tuple[Array, Array | None],
    ) -> None:
        """The steps, one after another."""
        multiply, step = self._multiply, self._kernels.step
        weight_hh, bias, itemsize, W = params["weight_hh"], params["bias"], z.itemsize, z.shape[1]
        G, H = weight_hh.shape
        h, c = states
        rows, lengths, _ = walk.on_device
        # A cell whose z has blocks beside those of its gates gets its product with h by itself, of one step at a time.
        from_h = self._cupy.empty((walk.rows, G), z.dtype) if G != W else None
        row_stride = time_stride = 0
        if out is not None:
            out = out[:, :, column : column + H]
            row_stride, time_stride, _ = strides(out)
        always = (H, walk.steps, row_stride, time_stride)
        arrays = (bias, params.get("bias_hn"), h, c, out, *final, rows, lengths, *always)
        weight_at, h_at, z_at = weight_hh.data.ptr, h.data.ptr, z.data.ptr
        target_at, target_width, add = (z_at, W, True) if from_h is None else (from_h.data.ptr, G, False)
        n, grid, has_product = 0, (1,), given[0]
        lasting = REVERSE * walk.reverse + KEEP * keep
        flags = lasting + STARTED * any(given)
        for t, (running, here) in enumerate(zip(walk.active, walk.starts, strict=False)):
            if running != n:
                n, grid = running, blocks(running * H, THREADS)
            following = walk.active[t + 1] if t + 1 < walk.steps else 0
            if has_product:
                at = target_at + here * W * itemsize if add else target_at
                before = h_at + here * H * itemsize if keep else h_at
                multiply(n, G, H, before, H, weight_at, H, at, target_width, b_turned=True, add=add)
            product = from_h if has_product else None
            step(grid, (THREADS,), (z, product, *arrays, t, n, following, here, flags))
            flags, has_product = lasting + STARTED, True

    # ------------------------------------------------------------ backward

    def backward(
        self,
        params: Mapping[str, Array],
        tape: Tape,
        d_outputs: Array | None = None,
        d_state: Any = None,
        input_gradient: bool = True,
        *,
        into: Mapping[str, Array] | None = None,
        accumulate: bool = True,
        add_rows: Callable[[Array, Array, Array], None] | None = None,
        state_gradient: bool = True,
        column: int | None = None,
    ) -> tuple[Array | None, Any, Mapping[str, Array]]:
        """As in `xlstm.cells.walk.backward`."""
        cupy, layout = self._cupy, self._layout
        walk, saved, z, h, *_ = tape
        if saved.ids is not None and add_rows is None:
            raise ValueError("the gradient of tokens needs add_rows: pass the function of that name of the backend.")
        N, H = walk.rows, h.shape[1]
        if into is None:
            into, accumulate = {name: cupy.empty_like(value) for name, value in params.items()}, False
        if d_outputs is not None and column is not None:
            d_outputs = d_outputs[:, :, column : column + H]
        dz = cupy.empty(z.shape, z.dtype)
        dh = cupy.empty((N, H), z.dtype)
        dc = cupy.empty((N, H), z.dtype) if layout.has_c else None
        d_final = (d_state or (None, None)) if layout.has_c else (d_state, None)
        self._run_back(params["weight_hh"], tape, dz, (dh, dc), d_outputs, d_final, state_gradient)
        self._recurrent_gradients(tape, dz, into, accumulate)
        dx = self._projection.backward(
            params["weight_ih"], saved, walk, dz, into["weight_ih"], input_gradient, accumulate, add_rows
        )
        if not state_gradient:
            return dx, None, into
        if walk.on_device[0] is not None:
            dh, dc, by_place = cupy.empty_like(dh), None if dc is None else cupy.empty_like(dc), (dh, dc)
            launch(self._kernels.first_states_backward, N * H, *by_place, dh, dc, walk.on_device[0], N, H)
        return dx, (dh, dc) if layout.has_c else dh, into

    def _run_back(
        self,
        weight_hh: Array,
        tape: Tape,
        dz: Array,
        d: tuple[Array, Array | None],
        d_outputs: Array | None,
        d_final: tuple[Array | None, Array | None],
        state_gradient: bool,
    ) -> None:
        """The steps, one after another, from the last to the first; `d` ends as the gradient of the initial state."""
        walk, _, z, h, c, given = tape
        multiply, step, itemsize, W = self._multiply, self._kernels.step_backward, z.itemsize, z.shape[1]
        G, H = weight_hh.shape
        rows, lengths, _ = walk.on_device
        row_stride = time_stride = 0
        if d_outputs is not None:
            row_stride, time_stride, unit_stride = strides(d_outputs)
            if unit_stride != 1:
                d_outputs = d_outputs.copy()
                row_stride, time_stride, _ = strides(d_outputs)
        d_final = tuple(contiguous(each, z.dtype) for each in d_final)
        arrays = (z, h, c, dz, *d, d_outputs, *d_final, rows, lengths, H, walk.steps, row_stride, time_stride)
        lasting = REVERSE * walk.reverse
        started = lasting + STARTED * any(given)
        weight_at, dh_at, dz_at = weight_hh.data.ptr, d[0].data.ptr, dz.data.ptr + self._layout.from_h * H * itemsize
        add = self._layout.from_h > 0  # dh holds what reached the state past z
        n, later, grid = 0, 0, (1,)
        for t in range(walk.steps - 1, -1, -1):
            here = walk.starts[t]
            if walk.active[t] != n:
                n = walk.active[t]
                grid = blocks(n * H, THREADS)
            step(grid, (THREADS,), (*arrays, t, n, later, here, lasting + STARTED if t > 0 else started))
            later = n
            if t > 0 or state_gradient:
                multiply(n, H, G, dz_at + here * W * itemsize, W, weight_at, H, dh_at, H, add=add)

    def _recurrent_gradients(self, tape: Tape, dz: Array, into: Mapping[str, Array], accumulate: bool) -> None:
        """The gradients of weight_hh, from all steps before which h was other than zero, and of the biases."""
        walk, h, d_weight_hh = tape.walk, tape.h, into["weight_hh"]
        (R, W), (G, H), itemsize = dz.shape, d_weight_hh.shape, dz.itemsize
        first = 0 if tape.given[0] else walk.rows
        if first < R:
            dz_at = dz.data.ptr + (first * W + self._layout.from_h * H) * itemsize
            h_at = h.data.ptr + first * H * itemsize
            self._multiply(G, H, R - first, dz_at, W, h_at, H, d_weight_hh.data.ptr, H, a_turned=True, add=accumulate)
        elif not accumulate:
            d_weight_hh.fill(0)
        size = max(64, -(-R // MOST_PARTS))
        parts = -(-R // size)
        part = self._cupy.empty((parts, W), dz.dtype)
        self._kernels.sum_columns((-(-W // 32), parts), (32, 8), (dz, part, R, W, size))
        sums = (part, into["bias"], into.get("bias_hn"), parts, W, H, int(accumulate))
        launch(self._kernels.sum_parts, W, *sums)
