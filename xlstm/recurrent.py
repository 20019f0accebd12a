"""What every recurrent layer has in common: it validates, documents and moves; the arithmetic is its stack's.

The layers by their names stand in `xlstm.layers`.

Shapes: N batch, T time, D features, H hidden, L layers, S directions (1 or 2).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from . import backends, params
from .arrays import accepted
from .backends import Backend
from .checks import MOST_LAYERS, checked, dtype_name, positive
from .embedding import accepted_tokens
from .exchange.layer import ExchangedLayer
from .layerfile import SETTINGS
from .namespace import Array
from .prepared import PreparedLayer
from .seeds import generator
from .stack import Sizes, Stack, Tape, start

Self = TypeVar("Self", bound="RecurrentLayer")


class RecurrentLayer(ExchangedLayer):
    """What LSTM, GRU and RNN have in common; use one of these.

    A subclass for a cell of one's own needs the cell's name in the registry as `cell`: see `xlstm.cells.register`.
    """

    parameters: params.Parameters
    gradients: params.Parameters

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
        precision: str = "highest",
    ) -> None:
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        how = {"dropout": dropout, "dtype": dtype, "init": init, "kernels": kernels, "precision": precision}
        self._configure({**sizes, "bidirectional": bidirectional, **how})
        self._generator = generator(seed)
        backend = backends.select(device, "cpu", self.sizes.flops_per_step(), kernels=kernels)
        choice = self._choice(backend)  # refuses before anything is drawn
        values = params.zeros(self.sizes.shapes(), np.zeros(0, self.dtype))
        start(self.sizes, init, self._generator, values)
        self._place(backend, values.flat, choice)

    def _configure(self, settings: Mapping[str, Any]) -> None:
        """Check what the constructor was given, by the names of `SETTINGS`, and keep it; the cell is known."""
        self.input_size = positive("input_size", settings["input_size"])
        self.hidden_size = positive("hidden_size", settings["hidden_size"])
        self.num_layers = positive("num_layers", settings["num_layers"], MOST_LAYERS)
        self.bidirectional = bool(settings["bidirectional"])
        self.dropout, self.init = checked(settings["dropout"], settings["init"]), settings["init"]
        self.dtype = dtype_name(settings["dtype"])
        self.requested_kernels, self.__dict__["precision"] = settings["kernels"], settings["precision"]

    @classmethod
    def of_values(
        cls: type[Self],
        values: Mapping[str, Any],
        device: str | None,
        kernels: str = "auto",
        precision: str = "highest",
    ) -> Self:
        """One layer in one direction with these host values of `weight_ih`, `weight_hh`, `bias` and what else it has.

        Their dtype becomes the layer's; `kernels` and `precision` are as in the constructor.

        Raises
        ------
        ValueError
            If a name is missing, or is not one of the cell's; if a shape does not fit.
        """
        D, H = values["weight_ih"].shape[1], values["weight_hh"].shape[1]
        sizes, dtype = Sizes(cls.cell, D, H), str(values["weight_hh"].dtype)
        if set(values) != set(names := sizes.record.parameter_names):
            raise ValueError(f"the cell {cls.cell!r} has the parameters {', '.join(names)}; got {', '.join(values)}.")
        host = params.zeros(sizes.shapes(), np.zeros(0, dtype_name(dtype)))
        for name, value in values.items():
            host[f"{name}_l0"] = value
        how = {"dropout": 0.0, "dtype": dtype, "init": "orthogonal", "kernels": kernels, "precision": precision}
        return cls.of_settings({**sizes._asdict(), **how}, host.flat, generator(None), device)

    @classmethod
    def of_settings(
        cls: type[Self], settings: Mapping[str, Any], values: Any, generator: np.random.Generator, device: str | None
    ) -> Self:
        layer = object.__new__(cls)
        layer.cell = settings["cell"]
        layer._configure(settings)
        layer._generator = generator
        layer._place(backends.select(device, default="cpu", flops_per_step=layer.sizes.flops_per_step()), values)
        return layer

    def settings(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in SETTINGS if name != "kernels"}
        return {**own, "kernels": self.requested_kernels}

    # ------------------------------------------------------------ where it lives

    @property
    def sizes(self) -> Sizes:
        """What the layer is made of."""
        return Sizes(self.cell, self.input_size, self.hidden_size, self.num_layers, self.bidirectional)

    def _choice(self, backend: Backend) -> backends.Choice:
        return backends.find(self.cell, backend, self.dtype, self.requested_kernels, self.precision)

    def _place(self, backend: Backend, host_values: Any, choice: backends.Choice | None = None) -> None:
        """Put the parameters on this backend's device and build the stack on them."""
        sizes = self.sizes
        with backend.current():
            self.parameters = params.Parameters(sizes.shapes(), backend.from_host(host_values))
            self.gradients = params.zeros(self.parameters.shapes, self.parameters.flat)
        choice = choice or self._choice(backend)
        self.stack = Stack(sizes, self.dropout, self.dtype, backend, choice, self.parameters, self.gradients)
        self.backend, self.device, self.kernels = backend, backend.device, choice.kernels
        self._record = self.stack.record
        self._cells, self._output_size = len(self.stack.of_cells), sizes.output_size
        self._several_states = len(self._record.states) > 1
        self._no_states: list[Any] = [None] * self._cells  # read only
        # What messages call each part of a state and of its gradient, and its width.
        parts = list(zip(self._record.states, self._record.state_sizes(self.hidden_size), strict=True))
        self._state_parts = {
            name: [(f"'s {d}{part}" if self._several_states else "", width) for part, width in parts]
            for name, d in (("state", ""), ("d_state", "d"))
        }

    def to(self: Self, device: str | None) -> Self:
        """A copy of the layer on another device: `"cpu"`, `"cuda"`, `"cuda:1"` or `"auto"`. Its gradients are zero.

        Raises
        ------
        RuntimeError
            If that device cannot be used; the message says what is missing.
        """
        target = backends.select(device, default="cpu", flops_per_step=self.sizes.flops_per_step())
        host = self.backend.to_host(self.parameters.flat)
        other: Self = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.requested_kernels = backends.elsewhere(self.requested_kernels, target)
        other._generator = copy.deepcopy(self._generator)
        other._place(target, host)
        return other

    def twin(self: Self, dtype: str, dropout: float) -> Self:
        """A layer of the same sizes on the same device, of another dtype and dropout, its parameters zero.

        It runs on compiled kernels if they exist for that dtype, unless this layer refuses them.
        """
        other: Self = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.dtype, other.dropout = dtype_name(dtype), dropout
        other.requested_kernels = backends.portable(self.requested_kernels)
        other._generator = generator(None)
        other._place(self.backend, params.zeros(self.sizes.shapes(), np.zeros(0, other.dtype)).flat)
        return other

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        return self.to(self.device)

    def __getstate__(self) -> dict[str, Any]:
        # A pickle holds host arrays: it opens on a machine without the GPU if the layer is moved to the CPU first.
        made_anew = ("backend", "gradients", "stack", "_record")
        state = {name: value for name, value in self.__dict__.items() if name not in made_anew}
        return {**state, "parameters": self.backend.to_host(self.parameters.flat)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._place(backends.select(state["device"]), state["parameters"])

    @property
    def directions(self) -> int:
        """2 for a bidirectional layer, else 1."""
        return 2 if self.bidirectional else 1

    # ------------------------------------------------------------ forward, backward

    def __call__(self, x: Any, state: Any = None, lengths: Any = None, *, tokens: Any = None) -> tuple[Array, Any]:
        """Inference: `forward` without the tape and without dropout. Returns outputs and the final state."""
        with self.stack.context():
            x, tokens, N = self._checked_input(x, tokens, lengths)
            outputs, finals, _ = self.stack.forward(x, self.split_state("state", state, N), lengths, tokens)
            return outputs, self.join_state(finals)

    def forward(
        self, x: Any, state: Any = None, lengths: Any = None, *, tokens: Any = None, seed: Any = None
    ) -> tuple[Array, Any, Tape]:
        """A whole batch of sequences, keeping what `backward` needs. Dropout is active.

        Parameters
        ----------
        x
            (N, T, D) real numbers on the layer's device, converted once to its dtype.
        state
            The initial state, zeros if None: (h, c) for an LSTM, h for a GRU or RNN, each (L·S, N, H) in the order l0,
            l0_reverse, l1, …; either half of a pair may be None.
        lengths
            For each row how many of its T steps are valid: integers from 1 to T on the host. None means all. What
            stands after a row's length is never used, NaN included.
        tokens
            In place of `x`, which is then None: (ids, table). Integers (N, T), and an array (V, D) of which they are
            the rows, as `xlstm.embedding` makes it; None for one-hot vectors, where V is D. Neither is ever built.
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
        rng = self._generator if seed is None else generator(seed)
        with self.stack.context():
            x, tokens, N = self._checked_input(x, tokens, lengths)
            states = self.split_state("state", state, N)
            outputs, finals, tape = self.stack.forward(x, states, lengths, tokens, rng, keep=True)
            assert tape is not None
            return outputs, self.join_state(finals), tape

    def backward(
        self, tape: Tape, d_outputs: Any = None, d_state: Any = None, input_gradient: bool = True
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
            Zero after a row's length. Of tokens with a table, its gradient (V, D); of one-hot tokens None.
        d_state
            The gradient of the initial state, in its form.

        Raises
        ------
        TypeError, ValueError
            As `forward`; or if the tape is not of this layer.
        MemoryError
            If memory ends. `gradients` may then be those of no call; the parameters and the tape are as they were, and
            the call may be made again.
        """
        if not isinstance(tape, Tape):
            raise TypeError(f"tape must be what forward returned, got {type(tape).__name__}.")
        if tape.stack is not self.stack:
            raise ValueError("this tape belongs to another layer: call forward and backward on the same one.")
        N, T = tape.shape
        with self.stack.context():
            if d_outputs is not None:
                wanted = (N, T, self._output_size)
                if not self._is_own(d_outputs):
                    d_outputs = accepted(self.backend, self.parameters.flat, "d_outputs", d_outputs, wanted)
                if tuple(d_outputs.shape) != wanted:
                    raise ValueError(f"d_outputs must be {wanted}, got shape {tuple(d_outputs.shape)}.")
            d_states = self.split_state("d_state", d_state, N)
            dx, d_initial = self.stack.backward(tape, d_outputs, d_states, input_gradient)
            return dx, self.join_state(d_initial)

    # ------------------------------------------------------------ frozen, for inference

    def prepare(self, precision: str | None = None) -> PreparedLayer:
        """A frozen copy for inference: `outputs, state = call(x, state=None, lengths=None)`.

        Later writes to the parameters do not change it. A sequence streams through it in steps or chunks if each call
        is given the state that the one before returned.

        Parameters
        ----------
        precision
            What the weights are stored in: None for the layer's dtype, `"float16"`, `"bfloat16"` or `"int8"`, for speed
            where few sequences at a time use each weight once in a step: docs/devices.md says what is rounded where.
            Outputs stay float32, and are off by about 2e-4, 2e-3 and 1e-2 in the Frobenius norm.

        Raises
        ------
        ValueError
            If it is none of these, or not for this dtype; if a weight is not finite, or in float16 above 65504.
        RuntimeError
            Without compiled kernels for it: on a GPU, in array code, on a CPU without AVX2 (float16, int8).
        """
        return PreparedLayer(self.to(self.device), precision)

    # ------------------------------------------------------------ arguments

    def _checked_input(self, x: Any, tokens: Any, lengths: Any) -> tuple[Array | None, Any, int]:
        """x and tokens as the stack takes them, and N."""
        if tokens is not None:
            if x is not None:
                raise ValueError("give x or tokens, not both.")
            tokens = accepted_tokens(self.backend, self.parameters.flat, tokens, self.input_size, lengths)
            return None, tokens, tokens[0].shape[0]
        if not self._is_own(x):
            x = accepted(self.backend, self.parameters.flat, "x", x, ("N", "T", self.input_size))
        if x.ndim != 3 or x.shape[2] != self.input_size:
            raise ValueError(f"x must be (N, T, {self.input_size}): batch, time, features; got shape {tuple(x.shape)}.")
        if 0 in x.shape:
            raise ValueError(
                f"x must have at least one row and one step, got shape {tuple(x.shape[:2])} (batch, time)."
            )
        return x, None, x.shape[0]

    def _is_own(self, values: Any) -> bool:
        """Whether it is an array just like the parameters: nearly always, and `accepted` need not be asked."""
        like = self.parameters.flat
        return type(values) is type(like) and values.dtype == like.dtype and self.backend.owns(values)

    def split_state(self, name: str, state: Any, rows: int) -> list[Any]:
        """A state or its gradient as users have it, checked → those of each layer and direction, for the cell."""
        if state is None:
            return self._no_states
        K, record = self._cells, self._record
        if not self._several_states:
            if isinstance(state, (tuple, list)):
                record.split(f"{name} of {self._told()}", state)  # which refuses it
            return self._own_state(name, self._state_parts[name][0], state, rows)
        if type(state) is not tuple or len(state) != len(record.states):
            state = record.split(f"{name} of {self._told()}", state)
        names, own = self._state_parts[name], self._own_state
        if K == 1 and len(names) == 2:  # written out, here and below: loops would be a good part of a small call
            return [(own(name, names[0], state[0], rows)[0], own(name, names[1], state[1], rows)[0])]
        parts = [own(name, which, part, rows) for which, part in zip(names, state, strict=True)]
        return list(zip(*parts, strict=True))

    def join_state(self, states: list[Any]) -> Any:
        """The inverse of `split_state`: what the cells returned as users have it."""
        if len(states) == 1:
            first = states[0]
            if not self._several_states:
                return first[None, ...]
            if len(first) == 2:
                return first[0][None, ...], first[1][None, ...]
            return tuple([part[None, ...] for part in first])
        xp = self.backend.namespace
        if self._several_states:
            return tuple([xp.stack(list(parts), axis=0) for parts in zip(*states, strict=True)])
        return xp.stack(states, axis=0)

    def _own_state(self, name: str, part: tuple[str, int], half: Any, rows: int) -> list[Array | None]:
        K = self._cells
        if half is None:
            return self._no_states
        which, width = part
        wanted = (K, rows, width)
        if not self._is_own(half):
            half = accepted(self.backend, self.parameters.flat, name + which, half, wanted)
        if half.shape != wanted:
            raise ValueError(
                f"{name}{which} must be {wanted} (layers·directions, batch, hidden), got shape {tuple(half.shape)}."
            )
        return [half[0, ...]] if K == 1 else [half[k, ...] for k in range(K)]

    def _told(self) -> str:
        name = type(self).__name__
        return f"{'an' if name[0] in 'AEFHILMNORSX' else 'a'} {name}"  # as the letters are spoken

    def __repr__(self) -> str:
        precision = "" if self.precision == "highest" else f", precision={self.precision!r}"
        return (
            f"{type(self).__name__}({self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, dropout={self.dropout}, dtype={self.dtype!r}, "
            f"device={self.device!r}, kernels={self.kernels!r}{precision})"
        )
