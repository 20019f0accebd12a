"""Whole recurrent layers: stacked, in one or both directions, with dropout between them.

The arithmetic of one layer in one direction is a cell's (`xlstm.cells`), or a faster implementation with the same
signature that `backends.find` names. This file asks for it once, hands each layer and direction its parameters and
states, and joins the results. It is longer than others because both layers' public docstrings stand here.

Shapes: N batch, T time, D features, H hidden, L layers, S directions (1 or 2).
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from types import ModuleType
from typing import Any, ClassVar, TypeVar

import numpy as np

from . import backends, cells, params
from .backends import Backend
from .cells.arguments import pair
from .cells.ragged import check_lengths
from .namespace import Array, library
from .seeds import generator

DTYPES = ("float32", "float64")
INITS = ("orthogonal", "pytorch")
TYPICAL_ROWS = 32
"""The batch that `device="auto"` reckons with where it cannot know the true one."""

_NOTHING = nullcontext()

NOT_PICKLED = ("_backend", "_cell", "_choice", "_reference", "gradients", "_of_cells", "_gradients_of_cells", "_packed")
"""What `_place` and `_bind` make anew."""

Self = TypeVar("Self", bound="RecurrentLayer")


class LayerTape:
    """What one forward call of a layer keeps for its backward call. Opaque, and of no use without its layer."""

    __slots__ = ("cell_tapes", "dropout_masks", "layer", "shape")

    def __reduce__(self) -> Any:
        raise TypeError("a tape belongs to its layer and cannot be copied or saved: run forward again.")

    def __init__(self, layer: RecurrentLayer, shape: tuple[int, int]) -> None:
        self.layer = layer
        self.shape = shape  # N, T
        self.cell_tapes: list[Any] = []  # one a layer and direction
        self.dropout_masks: list[Array | None] = []  # one between each two layers


class RecurrentLayer:
    """What LSTM and RNN have in common; use one of these."""

    _cell_name: ClassVar[str]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        dtype: str = "float32",
        device: str | None = None,
        seed: Any = None,
        init: str = "orthogonal",
        kernels: str = "auto",
        *,
        _draw: bool = True,  # False leaves the parameters zero, for callers that write them
    ) -> None:
        self.input_size = _positive("input_size", input_size)
        self.hidden_size = _positive("hidden_size", hidden_size)
        self.num_layers = _positive("num_layers", num_layers)
        self.bidirectional = bool(bidirectional)
        if not isinstance(dropout, (int, float, np.number)) or not 0 <= dropout < 1:
            raise ValueError(
                f"dropout is the fraction of the outputs set to zero: 0 or more, below 1; got {dropout!r}."
            )
        self.dropout = float(dropout)
        self.dtype = _dtype_name(dtype)
        if init not in INITS:
            raise ValueError(f"init must be one of {INITS}, got {init!r}.")
        self.init = init
        self._requested_kernels = kernels
        self._generator = generator(seed)
        self._place(backends.select(device, default="cpu", flops_per_step=self._flops_per_step()))
        start = self._initial_values(self._generator if _draw else None)
        self._bind(params.Parameters(self._shapes(), self._backend.from_host(start.flat)))

    # ------------------------------------------------------------ where it lives

    def _flops_per_step(self) -> float:
        """The size of the work, as far as it is known without a batch: what `device="auto"` goes by."""
        return flops_per_step(
            self._cell_name, self.input_size, self.hidden_size, self.num_layers, self.directions, TYPICAL_ROWS
        )

    def _place(self, backend: Backend) -> None:
        self._backend = backend
        choice = backends.find(self._cell_name, backend, self.dtype, self._requested_kernels)
        self._reference: ModuleType = cells.CELLS[self._cell_name]
        self._cell = self._reference if choice.layer is None else choice.layer
        self.device, self.kernels = backend.device, choice.kernels
        self._choice = choice
        self._compiled = choice.layer is not None and backend.library == "numpy"

    def _context(self) -> Any:
        """What a pass of the layer runs in: nothing for compiled kernels of the CPU, a good part of a small pass."""
        if self._compiled:
            return _NOTHING
        stack = ExitStack()
        stack.enter_context(self._backend.current())
        stack.enter_context(_quiet())
        return stack

    def _bind(self, parameters: params.Parameters, gradients: params.Parameters | None = None) -> None:
        """Take these buffers as one's own: a model binds its layers to sections of its one buffer."""
        with self._backend.current():
            self.parameters = parameters
            self.gradients = params.zeros(parameters.shapes, parameters.flat) if gradients is None else gradients
        self._of_cells = [self._of_cell(self.parameters, suffix) for suffix in self._suffixes()]
        self._packed: list[dict[str, Any]] = [{}] * len(self._of_cells)  # see `prepare`
        self._gradients_of_cells = [self._of_cell(self.gradients, suffix) for suffix in self._suffixes()]

    def to(self: Self, device: str | None) -> Self:
        """A copy of the layer on another device: `"cpu"`, `"cuda"`, `"cuda:1"` or `"auto"`. Its gradients are zero.

        Raises
        ------
        RuntimeError
            If that device cannot be used; the message says what is missing.
        """
        target = backends.select(device, default="cpu", flops_per_step=self._flops_per_step())
        host = self._backend.to_host(self.parameters.flat)
        other: Self = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._generator = copy.deepcopy(self._generator)
        other._place(target)
        other._bind(params.Parameters(self._shapes(), target.from_host(host)))
        return other

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        return self.to(self.device)

    def __getstate__(self) -> dict[str, Any]:
        # A pickle holds host arrays: it opens on a machine without the GPU if the layer is moved to the CPU first.
        state = {k: v for k, v in self.__dict__.items() if k not in NOT_PICKLED}
        return {**state, "parameters": self._backend.to_host(self.parameters.flat)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._place(backends.select(state["device"]))
        self._bind(params.Parameters(self._shapes(), self._backend.from_host(state["parameters"])))

    # ------------------------------------------------------------ shapes and init

    @property
    def directions(self) -> int:
        """2 for a bidirectional layer, else 1."""
        return 2 if self.bidirectional else 1

    def _suffixes(self) -> list[str]:
        """The endings of the parameters' names, in the order of the states: l0, l0_reverse, l1, …"""
        return [f"l{layer}{end}" for layer in range(self.num_layers) for end in ("", "_reverse")[: self.directions]]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        G, H = cells.CELLS[self._cell_name].GATES * self.hidden_size, self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for suffix in self._suffixes():
            D = self.input_size if suffix in ("l0", "l0_reverse") else H * self.directions
            shapes.update({f"weight_ih_{suffix}": (G, D), f"weight_hh_{suffix}": (G, H), f"bias_{suffix}": (G,)})
        return shapes

    def _initial_values(self, rng: np.random.Generator | None) -> params.Parameters:
        """The start of the parameters, drawn in float64 on the host and rounded once.

        "orthogonal": each gate's recurrent matrix orthogonal (Saxe, McClelland and Ganguli, 2014), its input matrix
        uniform as Glorot and Bengio (2010) have it, the bias as the cell says. "pytorch": all uniform in ±1/√H, the
        bias the sum of two such draws, for PyTorch has two biases.
        """
        values = params.Parameters(self._shapes(), np.zeros(sum(map(_size, self._shapes().values())), self.dtype))
        if rng is None:
            return values
        H, limit = self.hidden_size, self.hidden_size**-0.5
        for name, view in values.items():
            if self.init == "pytorch":
                draws = 2 if name.startswith("bias") else 1
                view[...] = sum(rng.uniform(-limit, limit, view.shape) for _ in range(draws))
            elif name.startswith("weight_ih"):
                glorot = (6 / (view.shape[1] + H)) ** 0.5
                view[...] = rng.uniform(-glorot, glorot, view.shape)
            elif name.startswith("weight_hh"):
                for gate in range(view.shape[0] // H):
                    view[gate * H : (gate + 1) * H] = _orthogonal(H, rng)
            else:
                self._reference.initialise_bias(view)
        return values

    # ------------------------------------------------------------ forward

    def __call__(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Array, Any]:
        """Inference: `forward` without the tape and without dropout. Returns outputs and the final state."""
        with self._context():
            outputs, finals, _ = self._run(x, state, lengths, None, None, keep=False)
            return outputs, self._join_state(finals)

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, *, tokens: Any = None, seed: Any = None
    ) -> tuple[Array, Any, LayerTape]:
        """A whole batch of sequences, keeping what `backward` needs. Dropout is active.

        Parameters
        ----------
        x
            (N, T, D) real numbers on the layer's device, converted once to its dtype.
        state
            The initial state, zeros if None: (h, c) for an LSTM, h for an RNN, each (L·S, N, H) in the order l0,
            l0_reverse, l1, …; either half of a pair may be None.
        lengths
            For each row how many of its T steps are valid: integers from 1 to T on the host. None means all. What
            stands after a row's length is never used, NaN included.
        tokens
            In place of `x`, for models: (ids (N, T), table (V, D) or None for one-hot): see `xlstm.cells.projection`.
        seed
            Where the dropout masks are drawn from: a seed or a generator. None goes on with the layer's own generator.

        Returns
        -------
        outputs : (N, T, S·H)
            Of the last layer at every step, zero after a row's length.
        state
            Like `state`: after each row's last valid step (in the reverse direction that is its first).
        tape
            For `backward`.

        Raises
        ------
        TypeError
            If an array lives in another library or on another device than the parameters; if lengths are no integers.
        ValueError
            If a shape does not fit, or a length is outside 1 to T.
        """
        with self._context():
            outputs, finals, tape = self._run(x, state, lengths, tokens, seed, keep=True)
            assert tape is not None
            return outputs, self._join_state(finals), tape

    def _run(
        self, x: Any, state: Any, lengths: Any, tokens: Any, seed: Any, keep: bool, outputs: bool = True
    ) -> tuple[Array | None, list[Any], LayerTape | None]:
        """The pass itself; the final states of its layers and directions one by one, as the cells gave them.

        Inside `_context`. Without `outputs`, those of the last layer are not made.
        """
        if tokens is None:
            x = self._own("x", x)
            if x.ndim != 3 or x.shape[2] != self.input_size:
                raise ValueError(
                    f"x must be (N, T, {self.input_size}): batch, time, features; got shape {tuple(x.shape)}."
                )
            N, T, _ = x.shape
        else:
            N, T = tokens[0].shape
        if N < 1 or T < 1:
            raise ValueError(f"x must have at least one row and one step, got shape {(N, T)} (batch, time).")
        lengths = None if lengths is None else check_lengths(lengths, N, T)
        if keep:
            backends.say_which_kernels(self._choice)
        states = self._split_state("state", state, N)
        tape = LayerTape(self, (N, T)) if keep else None
        rng = self._generator if seed is None else generator(seed)
        finals, current, S = [], x, self.directions
        for layer in range(self.num_layers):
            if layer > 0 and keep:
                current, mask = self._drop(current, rng)
                tape.dropout_masks.append(mask)  # type: ignore[union-attr]
            layer_tokens = tokens if layer == 0 else None
            sides = []
            for direction in range(S):
                k = layer * S + direction
                side, final, cell_tape = self._cell.forward(
                    self._of_cells[k],
                    None if layer_tokens is not None else current,
                    states[k],
                    lengths,
                    tokens=layer_tokens,
                    keep=keep,
                    reverse=direction == 1,
                    outputs=outputs or layer < self.num_layers - 1,
                    **self._packed[k],
                )
                sides.append(side)
                finals.append(final)
                if keep:
                    tape.cell_tapes.append(cell_tape)  # type: ignore[union-attr]
            current = sides[0] if S == 1 or sides[0] is None else self._backend.namespace.concat(sides, axis=2)
        return current, finals, tape

    def _drop(self, outputs: Array, rng: np.random.Generator) -> tuple[Array, Array | None]:
        """Inverted dropout (Srivastava et al., 2014): what is kept is scaled up, so inference needs no scaling."""
        if self.dropout == 0:
            return outputs, None
        mask = self._backend.adopt(_dropout_mask(rng, outputs.shape, self.dropout, self.dtype))
        return outputs * mask, mask

    # ------------------------------------------------------------ backward

    def backward(
        self, tape: LayerTape, d_outputs: Any = None, d_state: Any = None, input_gradient: bool = True
    ) -> tuple[Array | None, Any]:
        """The gradients of everything `forward` was given; those of the parameters go to `gradients`, overwritten.

        The parameters are read as they are now: write to them after this call.

        Parameters
        ----------
        tape
            What this layer's `forward` returned.
        d_outputs
            (N, T, S·H), the loss's gradient with respect to the outputs, or None for zero.
        d_state
            The same with respect to the final state, in its form; it or either half of a pair may be None.
        input_gradient
            False returns None for dx and saves its cost.

        Returns
        -------
        dx : (N, T, D) or None
            Zero after a row's length.
        d_state
            The gradient of the initial state, in its form.
        """
        if not isinstance(tape, LayerTape):
            raise TypeError(f"tape must be what forward returned, got {type(tape).__name__}.")
        if tape.layer is not self:
            raise ValueError("this tape belongs to another layer: call forward and backward on the same one.")
        N, T = tape.shape
        with self._context():
            if d_outputs is not None:
                d_outputs = self._own("d_outputs", d_outputs)
                width = self.directions * self.hidden_size
                if tuple(d_outputs.shape) != (N, T, width):
                    raise ValueError(f"d_outputs must be {(N, T, width)}, got shape {tuple(d_outputs.shape)}.")
            d_states = self._split_state("d_state", d_state, N)
            dx, d_initial = self._run_back(tape, d_outputs, d_states, input_gradient)
            return dx, self._join_state(d_initial)

    def _run_back(
        self, tape: LayerTape, d_outputs: Any, d_states: list[Any], input_gradient: bool, state_gradient: bool = True
    ) -> tuple[Array | None, list[Any]]:
        """The pass itself: gradients of the states one by one, as the cells take and give them.

        Inside `_context`.
        """
        L, S, H = self.num_layers, self.directions, self.hidden_size
        d_initial: list[Any] = [None] * (L * S)
        for layer in reversed(range(L)):
            d_input = None
            for direction in range(S):
                k = layer * S + direction
                dx, d_initial[k], _ = self._cell.backward(
                    self._of_cells[k],
                    tape.cell_tapes[k],
                    d_outputs if d_outputs is None or S == 1 else d_outputs[:, :, direction * H :][:, :, :H],
                    d_states[k],
                    input_gradient or layer > 0,
                    into=self._gradients_of_cells[k],
                    accumulate=False,
                    add_rows=self._backend.add_rows,
                    state_gradient=state_gradient,
                )
                d_input = dx if d_input is None else d_input + dx
            d_outputs = d_input
            if layer > 0 and tape.dropout_masks[layer - 1] is not None:
                d_outputs = d_outputs * tape.dropout_masks[layer - 1]
        return d_outputs, d_initial

    # ------------------------------------------------------------ frozen, for inference

    def prepare(self, precision: str | None = None) -> PreparedLayer:
        """A frozen copy for inference: `outputs, state = call(x, state=None, lengths=None)`.

        Later writes to the parameters do not change it. A sequence streams through it in steps or chunks if each call
        is given the state that the one before returned.

        Parameters
        ----------
        precision
            None for the layer's own dtype. `"bfloat16"`: inputs, states and weights enter the products rounded to 8
            bits of mantissa, the sums and all else stay float32: about twice the speed where the products count most,
            and outputs whose error in the Frobenius norm is about 3e-3 a layer (a single one may be off by 2e-2).

        Raises
        ------
        ValueError
            If it is neither, or not for this dtype.
        RuntimeError
            If the CPU or the device cannot multiply in bfloat16.
        """
        return PreparedLayer(self.to(self.device), precision)

    def _pack(self, bfloat16: bool = False) -> None:
        """Let inference read a copy of the parameters in the kernels' own order: these must not be written any more."""
        if self._compiled:
            self._packed = [{"packed": self._cell.pack(params, bfloat16)} for params in self._of_cells]

    # ------------------------------------------------------------ arguments

    def _of_cell(self, parameters: Mapping[str, Array], suffix: str) -> dict[str, Array]:
        return {name: parameters[f"{name}_{suffix}"] for name in ("weight_ih", "weight_hh", "bias")}

    def _is_own(self, values: Any) -> bool:
        """Whether it is an array just like the parameters, and needs no conversion."""
        like = self.parameters.flat
        return type(values) is type(like) and values.dtype == like.dtype and self._backend.owns(values)

    def _own(self, name: str, values: Any) -> Array:
        """`values` as an array of the layer's dtype; TypeError where it lives elsewhere or is not real."""
        backend, xp = self._backend, self._backend.namespace
        like = self.parameters.flat
        if self._is_own(values):
            return values
        if not backend.owns(values):
            try:
                kind = library(values)
            except TypeError:
                if (
                    hasattr(values, "__array_namespace__")
                    or hasattr(values, "__dlpack__")
                    or backend.library != "numpy"
                ):
                    raise
                kind = "numpy"
                try:
                    values = np.asarray(values)
                except ValueError:
                    raise ValueError(
                        f"{name} is a ragged list: pad its rows to one array (N, T, {self.input_size}), give lengths."
                    ) from None
            if not backend.owns(values):
                raise TypeError(
                    f"{name} is a {kind} array on {getattr(values, 'device', 'cpu')}, but the parameters are "
                    f"{backend.library} arrays on {backend.device}. Convert {name}, or move the layer with "
                    "layer.to('cpu') or layer.to('cuda')."
                )
        elif type(values) is not type(like):
            library(values)  # refuses masked arrays, whose masks would be lost, and matrices
        if values.dtype == like.dtype:
            return values
        if values.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold real numbers, got dtype {values.dtype}.")
        with _quiet():
            return xp.astype(values, like.dtype)

    def _split_state(self, name: str, state: Any, rows: int) -> list[Any]:
        """The state of each layer and direction, as the cell takes it."""
        raise NotImplementedError

    def _join_state(self, states: list[Any]) -> Any:
        """The inverse of `_split_state`."""
        raise NotImplementedError

    def _own_state(self, name: str, half_name: str, half: Any, rows: int) -> list[Array | None]:
        K = len(self._of_cells)
        if half is None:
            return [None] * K
        if not self._is_own(half):
            half = self._own(name + half_name, half)
        if half.shape != (K, rows, self.hidden_size):
            raise ValueError(
                f"{name}{half_name} must be {(K, rows, self.hidden_size)} (layers·directions, batch, hidden), "
                f"got shape {tuple(half.shape)}."
            )
        return [half[0, ...]] if K == 1 else [half[k, ...] for k in range(K)]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, dropout={self.dropout}, dtype={self.dtype!r}, "
            f"device={self.device!r}, kernels={self.kernels!r})"
        )


class PreparedLayer:
    """What `prepare` returns: call it with x, and with state and lengths, as a layer."""

    __slots__ = ("_layer", "_one_cell", "_precision")

    def __init__(self, layer: RecurrentLayer, precision: str | None) -> None:
        if precision not in (None, "bfloat16"):
            raise ValueError(
                f"precision must be None (the layer's dtype, {layer.dtype}) or 'bfloat16', got {precision!r}."
            )
        narrow = precision == "bfloat16"
        if narrow and layer.dtype != "float32":
            raise ValueError(
                f"precision='bfloat16' is for float32 layers, this one is {layer.dtype}: use dtype='float32'."
            )
        if narrow and not (layer._compiled and layer._cell.has_bfloat16):
            raise RuntimeError(
                "precision='bfloat16' needs compiled kernels on a CPU with AVX512-BF16; "
                f"here are {layer.kernels} kernels on {layer.device}. Use precision=None."
            )
        layer._pack(narrow)
        self._layer, self._precision = layer, precision  # nobody else has this layer
        quick = layer._compiled and len(layer._packed) == 1
        self._one_cell = layer._cell.frozen(layer._packed[0]["packed"]) if quick else None

    def __call__(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Array, Any]:
        """Outputs and the final state, as the layer's own call gives them."""
        if self._one_cell is not None and lengths is None:
            result: tuple[Array, Any] | None = self._one_cell(x, state)
            if result is not None:
                return result
        return self._layer(x, state, lengths)

    def __reduce__(self) -> Any:
        return PreparedLayer, (self._layer, self._precision)

    def __repr__(self) -> str:
        return f"{self._layer!r}.prepare({'' if self._precision is None else repr(self._precision)})"


class LSTM(RecurrentLayer):
    """Long short-term memory layers: `xlstm.cells.lstm`, stacked, in one or both directions.

    Parameters
    ----------
    input_size, hidden_size
        D and H.
    num_layers
        How many layers are stacked, each reading the outputs of the one below.
    bidirectional
        A second set of parameters reads each sequence from its last valid step to its first; the outputs stand side by
        side, the forward direction first.
    dropout
        The fraction of the outputs between two layers that `forward` sets to zero, to the nearest 1/65536; calling the
        layer never does.
    dtype
        `"float32"` or `"float64"`.
    device
        `"cpu"`, `"cuda"`, `"cuda:N"` or `"auto"`. None stands for the environment variable XLSTM_DEVICE, else `"cpu"`.
    seed
        None, an integer or a generator: where the weights and the dropout masks are drawn from.
    init
        `"orthogonal"` (forget bias 1) or `"pytorch"` (all uniform in ±1/√H).
    kernels
        `"auto"`; `"reference"`, never compiled ones; or `"compiled"`, which is an error where there are none.

    Attributes
    ----------
    parameters
        Mapping of name to array, writable views of one buffer: `weight_ih_l0` (4H, D), `weight_hh_l0` (4H, H),
        `bias_l0` (4H,), then `…_l0_reverse`, `…_l1` and so on; gates in the order i, f, g, o. From the second layer
        on, D is the number of the outputs below, S·H.
    gradients
        The same names and shapes: those of the last `backward` call, not a sum over calls.
    device, kernels
        Where it lives, and which implementation runs.

    Examples
    --------
    >>> import numpy as np, xlstm
    >>> layer = xlstm.LSTM(input_size=3, hidden_size=4, seed=0)
    >>> outputs, (h, c) = layer(np.ones((2, 5, 3)), lengths=[5, 2])
    >>> outputs.shape, h.shape
    ((2, 5, 4), (1, 2, 4))
    >>> bool((h[0, 1] == outputs[1, 1]).all())  # the last valid step of the second row
    True
    """

    _cell_name = "lstm"

    def _split_state(self, name: str, state: Any, rows: int) -> list[Any]:
        if state is None:
            return [None] * (self.num_layers * self.directions)
        halves = ("'s dh", "'s dc") if name == "d_state" else ("'s h", "'s c")
        if type(state) is not tuple or len(state) != 2:
            state = pair(f"{name} of an LSTM", state, "(dh, dc)" if name == "d_state" else "(h, c)")
        hs = self._own_state(name, halves[0], state[0], rows)
        cs = self._own_state(name, halves[1], state[1], rows)
        return [(hs[0], cs[0])] if len(hs) == 1 else list(zip(hs, cs, strict=True))

    def _join_state(self, states: list[Any]) -> Any:
        if len(states) == 1:
            h, c = states[0]
            return h[None, ...], c[None, ...]
        xp = self._backend.namespace
        return xp.stack([h for h, _ in states], axis=0), xp.stack([c for _, c in states], axis=0)

    @classmethod
    def from_gate_matrices(
        cls,
        *,
        W_f: Any,
        W_i: Any,
        W_g: Any,
        W_o: Any,
        b_f: Any,
        b_i: Any,
        b_g: Any,
        b_o: Any,
        device: str | None = None,
        kernels: str = "auto",
    ) -> LSTM:
        """One layer from four gate matrices that act on z = [h; x], h on top, as textbooks write them.

        Parameters
        ----------
        W_f, W_i, W_g, W_o
            (H, H+D), NumPy arrays; their dtype becomes the layer's.
        b_f, b_i, b_g, b_o
            (H,) or (H, 1).

        Raises
        ------
        ValueError
            If a shape does not fit; the matrix is named.
        TypeError
            If they are not all float32 or all float64.
        """
        from .convert import from_gate_matrices

        matrices = {"W_i": W_i, "W_f": W_f, "W_g": W_g, "W_o": W_o}
        return _from_values(
            cls, from_gate_matrices(matrices, {"b_i": b_i, "b_f": b_f, "b_g": b_g, "b_o": b_o}), device, kernels
        )


class RNN(RecurrentLayer):
    """Elman recurrent layers: `xlstm.cells.rnn`, stacked, in one or both directions.

    Everything is as in `LSTM`, but for the state, which is h (L·S, N, H) alone, and the weights, which have H rows.
    """

    _cell_name = "rnn"

    def _split_state(self, name: str, state: Any, rows: int) -> list[Any]:
        if isinstance(state, (tuple, list)):
            raise ValueError(f"{name} of an RNN is one array, h (layers·directions, batch, hidden); got {type(state)}.")
        return self._own_state(name, "", state, rows)

    def _join_state(self, states: list[Any]) -> Any:
        return states[0][None, ...] if len(states) == 1 else self._backend.namespace.stack(states, axis=0)

    @classmethod
    def from_matrices(cls, *, U: Any, V: Any, b_h: Any, device: str | None = None, kernels: str = "auto") -> RNN:
        """One layer from the matrices of h = tanh(U·x + V·h + b_h).

        Parameters
        ----------
        U, V
            Input to hidden (H, D) and hidden to hidden (H, H), NumPy arrays; their dtype becomes the layer's.
        b_h
            (H,) or (H, 1).

        Raises
        ------
        ValueError
            If a shape does not fit; the matrix is named.
        TypeError
            If they are not all float32 or all float64.
        """
        from .convert import from_elman_matrices

        return _from_values(cls, from_elman_matrices(U, V, b_h), device, kernels)


LAYERS: dict[str, type[RecurrentLayer]] = {"lstm": LSTM, "rnn": RNN}


def flops_per_step(cell: str, input_size: int, hidden_size: int, num_layers: int, directions: int, rows: int) -> float:
    """Floating-point operations of the products of one time step of `rows` sequences, forward."""
    H, S = hidden_size, directions
    inputs = input_size + (num_layers - 1) * S * H
    gates: int = cells.CELLS[cell].GATES
    return 2.0 * rows * gates * H * S * (inputs + num_layers * H)


def _from_values(cls: type[Self], values: dict[str, np.ndarray[Any, Any]], device: str | None, kernels: str) -> Self:
    """One layer with these host values of weight_ih, weight_hh and bias."""
    weight_ih, weight_hh = values["weight_ih"], values["weight_hh"]
    layer = cls(
        weight_ih.shape[1], weight_hh.shape[1], dtype=str(weight_hh.dtype), device=device, kernels=kernels, _draw=False
    )
    with layer._backend.current():
        for name, value in values.items():
            layer.parameters[f"{name}_l0"] = layer._backend.from_host(value)
    return layer


def _dropout_mask(rng: np.random.Generator, shape: tuple[int, ...], dropout: float, dtype: str) -> np.ndarray[Any, Any]:
    """What dropout multiplies an array with: zeros, and elsewhere what makes the mean 1.

    16 random bits decide on each number: a float each takes three times as long, and is a good part of a small training
    step. The fraction is therefore rounded to a multiple of 2**-16, below 1.
    """
    words = rng.integers(0, 2**64, -(-_size(shape) // 4), dtype=np.uint64).astype("<u8", copy=False)
    bits = words.view("<u2")[: _size(shape)].reshape(shape)
    dropped = min(round(dropout * 2**16), 2**16 - 1)  # of 2**16 numbers
    mask = (bits >= dropped).astype(dtype)
    mask *= 2**16 / (2**16 - dropped)
    return mask


def _quiet() -> Any:
    """NaN and infinity in the input come out as NaN and infinity; and padding may overflow in a conversion, unseen."""
    return np.errstate(over="ignore", invalid="ignore")


def _orthogonal(size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    # The signs make it uniform over all rotations: Mezzadri, "How to generate random matrices …" (2007).
    signed: np.ndarray[Any, Any] = q * np.sign(np.diag(r))
    return signed


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _positive(name: str, value: Any) -> int:
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}.") from None
    if not 1 <= number < 2**31:
        raise ValueError(f"{name} must be 1 or more, got {value!r}.")
    return number


def _dtype_name(dtype: Any) -> str:
    try:
        name = str(None if dtype is None else np.dtype(dtype).name)
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    return name
