"""Layers × directions × dropout on plain arrays: what lies between a cell and a layer or model.

The arithmetic of one layer in one direction is a cell's, or a faster implementation with the same signature that
`backends.find` names. A stack asks for it once, hands each layer and direction its parameters and states, and joins the
results. Of its arguments it checks the lengths; `recurrent` checks the rest for users, a model knows what it passes.

Shapes: N batch, T time, D features, H hidden, L layers, S directions (1 or 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from . import backends, cells, params
from .backends import Backend
from .cells.sequence import check_lengths
from .namespace import Array
from .orthogonal import orthogonal

TYPICAL_ROWS = 32
"""The number of rows of a batch that `device="auto"` assumes where it does not know the true one."""

_NOTHING = nullcontext()


class Sizes(NamedTuple):
    """What a stack is made of."""

    cell: str
    input_size: int  # D
    hidden_size: int  # H
    num_layers: int = 1  # L
    bidirectional: bool = False

    @property
    def directions(self) -> int:
        """S: 2 for a bidirectional stack, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def record(self) -> cells.Cell:
        """The cell's record."""
        return cells.by_name(self.cell)

    @property
    def output_size(self) -> int:
        """The width of the outputs, of all directions together."""
        return self.directions * self.record.output_size(self.hidden_size)

    def suffixes(self) -> list[str]:
        """The endings of the parameters' names, in the order of the states: l0, l0_reverse, l1, …"""
        return [f"l{layer}{end}" for layer in range(self.num_layers) for end in ("", "_reverse")[: self.directions]]

    def input_sizes(self) -> list[int]:
        """The width of what each layer and direction reads, in the same order."""
        S = self.directions
        return [self.input_size] * S + [self.output_size] * (S * (self.num_layers - 1))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's shape by its name, in the order of the buffer."""
        record = self.record
        return {
            f"{name}_{suffix}": shape
            for suffix, D in zip(self.suffixes(), self.input_sizes(), strict=True)
            for name, shape in record.shapes(D, self.hidden_size).items()
        }

    def parameter_count(self) -> int:
        """How many numbers the parameters are; computed without making anything of the stack's size."""
        record, S = self.record, self.directions

        def of_cell(D: int) -> int:
            return sum(map(math.prod, record.shapes(D, self.hidden_size).values()))

        return S * (of_cell(self.input_size) + (self.num_layers - 1) * of_cell(self.output_size))

    def flops_per_step(self, rows: int = TYPICAL_ROWS) -> float:
        """Floating-point operations of the products of one time step of `rows` sequences, forward."""
        record, H = self.record, self.hidden_size
        first, other = record.flops(self.input_size, H), record.flops(self.output_size, H)
        return rows * self.directions * (first + (self.num_layers - 1) * other)


class Tape:
    """What one forward call keeps for its backward call. Opaque, and of no use without its stack."""

    __slots__ = ("cell_tapes", "dropout_masks", "shape", "stack")

    def __init__(self, stack: Stack, shape: tuple[int, int]) -> None:
        self.stack = stack
        self.shape = shape  # N, T
        self.cell_tapes: list[Any] = []  # one a layer and direction
        self.dropout_masks: list[Array | None] = []  # one between each two layers

    def __reduce__(self) -> Any:
        raise TypeError("a tape belongs to its layer and cannot be copied or saved: run forward again.")


class Stack:
    """Recurrent layers over given parameters.

    Parameters
    ----------
    sizes
        What it is made of.
    dropout
        The fraction of the outputs between two layers that a forward pass with a tape sets to zero.
    dtype, backend
        "float32" or "float64", and where the parameters live.
    choice
        Which implementation of the cell runs: what `backends.find` returned for it.
    parameters, gradients
        `Parameters` of the shapes of `sizes`, on the backend's device: the stack reads the ones and writes the others.
    """

    def __init__(
        self,
        sizes: Sizes,
        dropout: float,
        dtype: str,
        backend: Backend,
        choice: backends.Choice,
        parameters: params.Parameters,
        gradients: params.Parameters,
    ) -> None:
        self.sizes, self.dropout, self.dtype, self.backend = sizes, dropout, dtype, backend
        self.parameters, self.gradients, self.choice = parameters, gradients, choice
        self.record = sizes.record
        self.compiled = choice.implementation is not None
        """Whether a fast implementation runs."""
        self.cell: Any = choice.implementation if self.compiled else self.record
        # What a pass asks for, worked out once: a small one costs little more than its arithmetic.
        self._needs_context, self._add_rows = choice.needs_context, backend.add_rows
        self._layers, self._directions = sizes.num_layers, sizes.directions
        self._width = self.record.output_size(sizes.hidden_size)
        names = self.record.parameter_names
        self.of_cells = [{n: parameters[f"{n}_{suffix}"] for n in names} for suffix in sizes.suffixes()]
        self._gradients_of_cells = [{n: gradients[f"{n}_{suffix}"] for n in names} for suffix in sizes.suffixes()]
        self.packed: list[dict[str, Any]] = [{}] * len(self.of_cells)

    def context(self) -> Any:
        """What a pass runs in: the device made current, and no warnings of overflow in what nobody reads.

        For compiled kernels of the CPU it is nothing: entering it would be a good part of a small pass.
        """
        if not self._needs_context:
            return _NOTHING
        return self.backend.quiet()

    def pack(self, precision: str | None = None) -> None:
        """Let inference read a copy of the parameters in the kernels' own order: these must not be written any more.

        `precision` is that of `xlstm.prepared`, which has checked that there is one.
        """
        if self.compiled:
            with self.context():
                self.packed = [{"packed": self.cell.pack(of_cell, precision)} for of_cell in self.of_cells]

    # ------------------------------------------------------------ forward

    def forward(
        self,
        x: Array | None,
        states: list[Any],
        lengths: Any,
        tokens: Any = None,
        rng: np.random.Generator | None = None,
        keep: bool = False,
        outputs: bool = True,
        drawn: Any = None,
        then: Sequence[tuple[int, ...]] = (),
    ) -> tuple[Array | None, list[Any], Tape | None]:
        """The pass of a batch, inside `context`.

        Parameters
        ----------
        x
            (N, T, D), or None where there are tokens.
        states
            The initial state of each layer and direction, in the form of the cell, or None.
        lengths
            Integers from 1 to T on the host, or None.
        tokens
            (ids (N, T), table): see `xlstm.cells.projection`.
        rng
            Where the dropout masks are drawn from.
        keep
            Whether a backward pass follows; dropout is active only then.
        outputs
            Whether those of the last layer are made.
        drawn
            Where each row stood when the batch was drawn, (N,) integers on the host; None where it stands. So a
            sequence gets the same dropout mask of the same seed, in whatever order a device has the rows.
        then
            The shapes of further dropout masks, drawn with those between the layers and after them: the last ones in
            the tape's `dropout_masks`.

        Returns
        -------
        outputs : (N, T, S·H) or None
        finals
            The final state of each layer and direction, in the form of the cell.
        tape
            None without `keep`.
        """
        if tokens is None:
            N, T, _ = x.shape  # type: ignore[union-attr]
        else:
            N, T = tokens[0].shape
        S, L = self._directions, self._layers
        order = None if lengths is None else check_lengths(lengths, N, T)
        if order is not None:
            order = self.cell.order(self.backend.namespace, order, N, T, self.parameters.flat.device)
        if keep:
            backends.say_which_kernels(self.choice)
        tape = Tape(self, (N, T)) if keep else None
        if tape is not None:
            tape.dropout_masks = self._masks([(N, T, S * self._width)] * (L - 1) + [*then], rng, drawn)
        finals, current = [], x
        for layer in range(L):
            if layer > 0:
                tokens = None
                if tape is not None and tape.dropout_masks[layer - 1] is not None:
                    current = current * tape.dropout_masks[layer - 1]  # type: ignore[operator]
            wanted = outputs or layer < L - 1
            out = self._zeros(N, T) if S == 2 and wanted else None  # each direction writes its columns
            for direction in range(S):
                k = layer * S + direction
                side, final, cell_tape = self.cell.forward(
                    self.of_cells[k],
                    current,
                    states[k],
                    order,
                    tokens=tokens,
                    keep=keep,
                    reverse=direction == 1,
                    outputs=wanted,
                    out=out,
                    column=direction * self._width,
                    **self.packed[k],
                )
                finals.append(final)
                if tape is not None:
                    tape.cell_tapes.append(cell_tape)
            current = side
        return current, finals, tape

    def _zeros(self, N: int, T: int) -> Array:
        """(N, T, S·H) for the outputs of both directions."""
        like = self.parameters.flat
        shape = (N, T, self._directions * self._width)
        return self.backend.namespace.zeros(shape, dtype=like.dtype, device=like.device)

    def _masks(self, shapes: list[tuple[int, ...]], rng: np.random.Generator | None, drawn: Any) -> list[Array | None]:
        """Masks that arrays of these shapes are multiplied with, all at once; None where nothing is dropped.

        Inverted dropout (Srivastava et al., 2014): what is kept is scaled up, so inference needs no scaling.
        """
        if self.dropout == 0 or rng is None or not shapes:
            return [None] * len(shapes)
        kept = [dropout_kept(rng, shape, self.dropout) for shape in shapes]
        if drawn is not None:
            kept = [mask[drawn] for mask in kept]
        return [*self.backend.masks(kept, 2**16 / (2**16 - _dropped(self.dropout)), self.dtype)]

    # ------------------------------------------------------------ backward

    def backward(
        self,
        tape: Tape,
        d_outputs: Array | None,
        d_states: list[Any],
        input_gradient: bool = True,
        state_gradient: bool = True,
    ) -> tuple[Array | None, list[Any]]:
        """The gradients of everything that `forward` was given, inside `context`.

        Those of the parameters go to `gradients`, overwritten. `d_outputs` is (N, T, S·H) or None; `d_states` are in
        the form of `states`.

        Returns
        -------
        dx : (N, T, D) or None
            For embedded tokens, the gradient of the table.
        d_states
            In the form of `states`; without `state_gradient` all None.
        """
        S, L = self._directions, self._layers
        d_initial: list[Any] = [None] * (L * S)
        for layer in reversed(range(L)):
            d_input = None
            for direction in range(S):
                k = layer * S + direction
                dx, d_initial[k], _ = self.cell.backward(
                    self.of_cells[k],
                    tape.cell_tapes[k],
                    d_outputs,
                    d_states[k],
                    input_gradient or layer > 0,
                    into=self._gradients_of_cells[k],
                    accumulate=False,
                    add_rows=self._add_rows,
                    state_gradient=state_gradient,
                    column=direction * self._width if S > 1 else None,
                )
                d_input = dx if d_input is None else d_input + dx
            d_outputs = d_input
            if layer > 0 and tape.dropout_masks[layer - 1] is not None:
                d_outputs = d_outputs * tape.dropout_masks[layer - 1]  # type: ignore[operator]
        return d_outputs, d_initial


# ---------------------------------------------------------------- the start of the parameters


def start(sizes: Sizes, init: str, rng: np.random.Generator, values: params.Parameters) -> None:
    """Write the start of the parameters into host arrays, drawn in float64 and rounded once.

    "orthogonal": each gate's recurrent matrix orthogonal (Saxe, McClelland and Ganguli, 2014), its input matrix uniform
    as Glorot and Bengio (2010) have it, the bias as the cell says. "pytorch": all uniform in ±1/√H, and a bias that
    stands for PyTorch's two the sum of two such draws.
    """
    record, H = sizes.record, sizes.hidden_size
    limit = H**-0.5
    for name, view in values.items():
        if init == "pytorch":
            drawn = rng.uniform(-limit, limit, view.shape)
            if name.startswith("bias_l"):
                drawn[: record.biases_in_one * H] += rng.uniform(-limit, limit, record.biases_in_one * H)
            view[...] = drawn
        elif name.startswith("weight_ih_"):
            glorot = (6 / (view.shape[1] + H)) ** 0.5
            view[...] = rng.uniform(-glorot, glorot, view.shape)
        elif name.startswith("weight_hh_"):
            for gate in range(view.shape[0] // H):
                view[gate * H : (gate + 1) * H] = orthogonal(max(H, view.shape[1]), rng)[:H, : view.shape[1]]
        elif name.startswith("bias_l"):
            record.start_bias(view)
        else:
            view[...] = 0


def dropout_kept(rng: np.random.Generator, shape: tuple[int, ...], dropout: float) -> np.ndarray[Any, Any]:
    """Which numbers of an array dropout keeps: a host array of booleans.

    16 random bits decide on each number: a float each takes three times as long, and is a good part of a small training
    step. The fraction is therefore rounded to a multiple of 2**-16, below 1.
    """
    size = math.prod(shape)
    words = rng.integers(0, 2**64, -(-size // 4), dtype=np.uint64).astype("<u8", copy=False)
    kept: np.ndarray[Any, Any] = words.view("<u2")[:size].reshape(shape) >= _dropped(dropout)
    return kept


def _dropped(dropout: float) -> int:
    """How many of 2**16 numbers are dropped."""
    return min(round(dropout * 2**16), 2**16 - 1)
